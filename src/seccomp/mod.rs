//! stub
pub struct Filter{pub flags:u32} impl Filter{pub fn bytes(&self)->Vec<u8>{vec![]}}
pub fn compile(_:&oci_spec::runtime::LinuxSeccomp)->crate::Result<Option<Filter>>{Ok(None)}
