//! A process that is stuck in the kernel on purpose.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// A FUSE file system whose server answers nothing but the handshake: whoever looks into it waits uninterruptibly.
pub struct DeadMount {
    device: fs::File,
    pub at: String,
}

impl DeadMount {
    pub fn mount(name: &str) -> Option<Self> {
        let device = match fs::File::options().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                crate::skip::note(format_args!("/dev/fuse: {error}"));
                return None;
            }
        };
        let at = format!("/tmp/nfrun-test-{}-{name}", std::process::id());
        fs::create_dir_all(&at).unwrap();
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let none = nix::mount::MsFlags::empty();
        if let Err(error) = nix::mount::mount(Some("dead"), at.as_str(), Some("fuse"), none, Some(data.as_str())) {
            crate::skip::note(format_args!("mount fuse: {error}"));
            return None;
        }
        let mut mount = Self { device, at };
        // FUSE_INIT: 40 bytes of header, the request's number at 8; the answer is a header of 16 and a struct of 64.
        let mut request = [0; 8192 * 4];
        let _ = mount.device.read(&mut request).unwrap();
        let mut answer = [0u8; 80];
        answer[0] = 80;
        answer[8..16].copy_from_slice(&request[8..16]);
        answer[16..24].copy_from_slice(&[7, 0, 0, 0, 31, 0, 0, 0]);
        answer[36..40].copy_from_slice(&4096u32.to_ne_bytes());
        mount.device.write_all(&answer).unwrap();
        Some(mount)
    }

    /// Takes the next request, which is how it becomes one that waits for its answer.
    pub fn swallow(&mut self) {
        let _ = self.device.read(&mut [0; 8192 * 4]).unwrap();
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        let _ =
            nix::mount::umount2(self.at.as_str(), nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::MNT_FORCE);
        let _ = fs::remove_dir(&self.at);
    }
}
