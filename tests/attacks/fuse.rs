//! A container that runs from a filesystem which it serves itself (FUSE): whoever asks that filesystem for anything waits
//! for as long as the container likes, beyond SIGKILL. The server here answers, so that a test cannot hang, and tells who
//! has asked.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::{Container, json};

const FILE: u64 = 2;

/// A filesystem with one program in it, `sleep`: linux/fuse.h.
struct Server {
    device: File,
    place: std::path::PathBuf,
    /// Who has looked up a name or asked for attributes: their pids.
    askers: Arc<Mutex<Vec<u64>>>,
}

impl Server {
    /// None where this kernel has no FUSE.
    fn begin(place: &Path, program: Vec<u8>) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        fs::create_dir(place).expect("make its place");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        nix::mount::mount(Some("served"), place, Some("fuse"), nix::mount::MsFlags::empty(), Some(options.as_str()))
            .ok()?;
        let this = Self { device, place: place.to_owned(), askers: Arc::default() };
        let (device, askers) = (this.device.try_clone().expect("dup"), this.askers.clone());
        std::thread::spawn(move || serve(device, &program, &askers));
        Some(this)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever still waits gets an error: umount2(2), MNT_FORCE aborts the connection.
        let flags = nix::mount::MntFlags::MNT_FORCE | nix::mount::MntFlags::MNT_DETACH;
        let _ = nix::mount::umount2(&self.place, flags);
    }
}

fn serve(mut device: File, program: &[u8], askers: &Mutex<Vec<u64>>) {
    let mut request = vec![0; 1 << 17];
    // Once it is unmounted reading fails, which ends this thread.
    while let Ok(length) = device.read(&mut request) {
        let request = &request[..length];
        let number = |at: usize, size: usize| {
            request[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (call, node) = (number(4, 4), number(16, 8));
        if matches!(call, 1 | 3) {
            askers.lock().expect("the list").push(number(32, 4));
        }
        let body = match call {
            // LOOKUP; every attribute is valid for no time at all.
            1 if CStr::from_bytes_until_nul(&request[40..]).is_ok_and(|name| name == c"sleep") => {
                let head: Vec<u8> = [FILE, 0, 0, 0, 0].into_iter().flat_map(u64::to_le_bytes).collect();
                Ok([head, attributes(FILE, program.len())].concat())
            }
            1 => Err(libc::ENOENT),
            // GETATTR.
            3 => Ok([vec![0; 16], attributes(node, program.len())].concat()),
            // OPEN, OPENDIR.
            14 | 27 => Ok(vec![0; 16]),
            // READ.
            15 => {
                let start = (number(48, 8) as usize).min(program.len());
                let end = (start + number(56, 4) as usize).min(program.len());
                Ok(program[start..end].to_vec())
            }
            // INIT: version 7.31, pages of 4096 bytes read ahead, messages of 64 KiB.
            26 => {
                let mut body = vec![0; 64];
                for (at, value) in [(0, 7u32), (4, 31), (8, 1 << 16), (20, 1 << 16)] {
                    body[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                Ok(body)
            }
            // FLUSH, RELEASE, RELEASEDIR.
            25 | 18 | 29 => Ok(Vec::new()),
            // FORGET, BATCH_FORGET, INTERRUPT: nobody waits.
            2 | 42 | 36 => continue,
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = body.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let head = [(16 + body.len() as u32).to_le_bytes(), error.to_le_bytes()].concat();
        let _ = device.write(&[&head, &request[8..16], &body[..]].concat());
    }
}

/// struct fuse_attr.
fn attributes(node: u64, length: usize) -> Vec<u8> {
    let (mode, length) = if node == FILE { (0o100755, length as u64) } else { (0o40755, 0) };
    let wide = [node, length, length.div_ceil(512), 0, 0, 0].into_iter().flat_map(u64::to_le_bytes);
    wide.chain([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].into_iter().flat_map(u32::to_le_bytes)).collect()
}

#[test]
fn nothing_is_asked_of_a_filesystem_that_the_container_serves() {
    let c = Container::new(&["/mnt/sleep", "1000"]);
    let program = fs::read(c.rootfs("bin/busybox")).expect("busybox");
    let place = c.dir.join("served");
    let mount = json!({"destination": "/mnt", "type": "bind", "source": place, "options": ["bind"]});
    let c = c.with(|config| config["mounts"].as_array_mut().expect("mounts").push(mount));
    let Some(server) = Server::begin(&place, program) else { skip!("no FUSE here") };
    c.create().start();
    let own = c.pid() as u64;
    server.askers.lock().expect("the list").clear();
    assert_eq!(c.status(), "running");
    assert!(c.runtime(&["list"]).ok().contains(&c.id));
    c.on_id(&["delete", "--force"]).ok();
    let askers = server.askers.lock().expect("the list").clone();
    assert!(askers.iter().all(|asker| *asker == own), "{askers:?} asked, and only {own} may wait for itself");
}
