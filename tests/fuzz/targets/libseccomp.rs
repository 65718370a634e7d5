//! libseccomp within this process, with the face of tests/seccomp/libseccomp.rs.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd};

/// struct scmp_arg_cmp.
#[repr(C)]
struct Comparison {
    arg: u32,
    op: u32,
    a: u64,
    b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_init(default: u32) -> *mut c_void;
    fn seccomp_release(filter: *mut c_void);
    fn seccomp_arch_add(filter: *mut c_void, arch: u32) -> c_int;
    fn seccomp_attr_set(filter: *mut c_void, attribute: c_int, value: u32) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_num_arch(arch: u32, number: c_int) -> *mut c_char;
    fn seccomp_rule_add_array(
        filter: *mut c_void,
        action: u32,
        number: c_int,
        count: u32,
        args: *const Comparison,
    ) -> c_int;
    fn seccomp_export_bpf(filter: *const c_void, fd: c_int) -> c_int;
}

/// SCMP_FLTATR_CTL_OPTIMIZE.
const OPTIMIZE: c_int = 8;
/// __NR_SCMP_ERROR.
const NO_SUCH_CALL: c_int = -1;

pub struct Libseccomp {
    filter: *mut c_void,
    names: HashMap<(u32, u32), String>,
}

impl Libseccomp {
    pub fn start() -> Self {
        Self { filter: std::ptr::null_mut(), names: HashMap::new() }
    }

    /// A call's number; pseudo numbers are negative.
    pub fn number(&mut self, arch: u32, name: &str) -> i32 {
        let name = CString::new(name).expect("a name");
        // SAFETY: reads a text that ends in NUL.
        unsafe { seccomp_syscall_resolve_name_arch(arch, name.as_ptr()) }
    }

    /// A number's name, or "-".
    pub fn name(&mut self, arch: u32, number: u32) -> String {
        let ask = || {
            // SAFETY: gives a text that is ours to free, or null.
            let name = unsafe { seccomp_syscall_resolve_num_arch(arch, number as c_int) };
            if name.is_null() {
                return "-".to_owned();
            }
            // SAFETY: not null, so a text that ends in NUL.
            let text = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            // SAFETY: as the manual page says, and not used after.
            unsafe { libc::free(name.cast()) };
            text
        };
        self.names.entry((arch, number)).or_insert_with(ask).clone()
    }

    pub fn begin(&mut self, default: u32) {
        // SAFETY: a filter that `begin` made, or null, which is none; the new one is used until the next call.
        unsafe {
            if !self.filter.is_null() {
                seccomp_release(self.filter);
            }
            self.filter = seccomp_init(default);
        }
        assert!(!self.filter.is_null(), "seccomp_init {default:#x}");
    }

    pub fn arch(&mut self, arch: u32) {
        // SAFETY: the filter is there.
        let outcome = unsafe { seccomp_arch_add(self.filter, arch) };
        assert!([0, -libc::EEXIST].contains(&outcome), "seccomp_arch_add {arch:#x}: {outcome}");
    }

    /// Whether the rule was taken; a name that is not known is skipped, as runc does.
    pub fn rule(&mut self, action: u32, name: &str, args: &[(u64, usize, u64, u64)]) -> bool {
        let name = CString::new(name).expect("a name");
        // SAFETY: reads a text that ends in NUL.
        let number = unsafe { seccomp_syscall_resolve_name(name.as_ptr()) };
        if number == NO_SUCH_CALL {
            return true;
        }
        let args: Vec<_> =
            args.iter().map(|&(arg, op, a, b)| Comparison { arg: arg as u32, op: op as u32, a, b }).collect();
        // SAFETY: the filter is there, and the array has as many entries as it says.
        unsafe { seccomp_rule_add_array(self.filter, action, number, args.len() as u32, args.as_ptr()) == 0 }
    }

    pub fn program(&mut self, optimize: bool) -> Vec<u8> {
        // SAFETY: the filter is there; a new descriptor is ours; the library writes into it.
        let mut file = unsafe {
            seccomp_attr_set(self.filter, OPTIMIZE, if optimize { 2 } else { 1 });
            let fd = libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0);
            let file = std::fs::File::from_raw_fd(fd);
            assert_eq!(seccomp_export_bpf(self.filter, file.as_raw_fd()), 0, "seccomp_export_bpf");
            file
        };
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read the program");
        bytes
    }
}
