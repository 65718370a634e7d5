//! stub
use std::path::{Path, PathBuf}; use std::time::Duration; use std::os::fd::{OwnedFd,BorrowedFd}; use serde::{Serialize,Deserialize}; use crate::Result;
#[derive(Debug,Clone,PartialEq,Serialize)] pub enum Step{} impl Step{pub fn makes(&self)->Option<PathBuf>{None}} impl std::fmt::Display for Step{fn fmt(&self,_:&mut std::fmt::Formatter<'_>)->std::fmt::Result{Ok(())}}
pub struct Layout; impl Layout{pub fn parse(_:&str,_:&str)->Result<Self>{Ok(Layout)}}
#[derive(Debug,Clone,Serialize,Deserialize)] pub struct Place{} impl Place{pub fn tasks_files(&self)->Vec<PathBuf>{vec![]} pub fn directories(&self)->Vec<(String,PathBuf)>{vec![]} pub fn pids(&self)->Result<Vec<i32>>{Ok(vec![])} pub fn is_frozen(&self)->Result<bool>{Ok(false)} pub fn signal_all(&self,_:i32)->Result<()>{Ok(())} pub fn freeze(&self,_:Duration)->Result<()>{Ok(())} pub fn thaw(&self)->Result<()>{Ok(())} pub fn v2_directory(&self)->Result<Option<OwnedFd>>{Ok(None)}}
pub fn place(_:&Layout,_:Option<&Path>,_:&str)->Result<Place>{Ok(Place{})}
pub fn plan(_:&Layout,_:&Place,_:Option<&oci_spec::runtime::LinuxResources>)->Result<Vec<Step>>{Ok(vec![])}
pub fn limits_anything(_:&oci_spec::runtime::LinuxResources)->bool{false}
pub fn remove_directory(_:&Path,_:Option<u64>,_:bool,_:Duration)->Result<()>{Ok(())}
pub fn describe_stuck(_:i32)->String{String::new()}
pub fn sub_place(p:&Place,_:&[String])->Result<Place>{Ok(p.clone())}
#[derive(Default)] pub struct Made; impl Made{pub fn perform(&mut self,_:&Step)->Result<()>{Ok(())} pub fn take_identities(&mut self)->Vec<(PathBuf,u64)>{vec![]} pub fn v2_directory(&self)->Option<BorrowedFd<'_>>{None}}
