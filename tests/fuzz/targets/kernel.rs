//! The init program on a kernel by chance. The plan's bytes and every answer of the kernel come from the fuzzer: the program
//! must do its steps or report one, without a panic, a read or write out of bounds, or a loop without an end. What it
//! reports the runtime must be able to read, and both must read the same steps.
//!
//! No call reaches the real kernel. A call whose answer is more than a number is known here by its number; any other one
//! succeeds or fails, and writes nothing.

use std::cell::RefCell;
use std::ffi::CStr;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target};
use linux_raw_sys::errno as e;
use linux_raw_sys::general as k;

use crate::step::{FAILED, Head, LISTENER, Step};
use crate::sys::Outcome;
use crate::wire::{Bytes, List, Reader, Sink, Wire};

/// The errno values that code asks for by name, and one that it does not.
const ERRNOS: [u32; 16] = [
    e::ENOENT,
    e::EEXIST,
    e::EPERM,
    e::EACCES,
    e::ELOOP,
    e::ENOSYS,
    e::EINVAL,
    e::ENOTDIR,
    e::EAGAIN,
    e::EINTR,
    e::EBUSY,
    e::EROFS,
    e::EISDIR,
    e::ENODEV,
    e::ENAMETOOLONG,
    e::EOVERFLOW,
];
/// The most that one run may ask memory for.
const MOST_MEMORY: usize = 64 << 20;
/// Where the fuzzed plan is, as far as the program knows.
const PLAN_FD: i32 = 3;

/// What answers the calls of one run.
#[derive(Default)]
struct Kernel {
    plan: Vec<u8>,
    answers: Vec<u8>,
    at: usize,
    next_fd: usize,
    /// Address and length of what was mapped, the guard included.
    maps: Vec<(usize, usize)>,
    mapped: usize,
    /// Seconds of the clock.
    now: u64,
    /// What went to the runtime.
    sent: Vec<u8>,
    /// The address of the word that the program waits on once it has loaded a filter with a listener.
    release: usize,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

impl Kernel {
    /// The next byte of the answers. When they are used up every call succeeds, so that every loop ends.
    fn byte(&mut self) -> u8 {
        let byte = self.answers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn fd(&mut self) -> usize {
        self.next_fd += 1;
        10 + self.next_fd
    }

    /// One in two calls fails while there are answers left; with any of the errno values.
    fn refusal(&mut self) -> Option<i32> {
        let byte = self.byte();
        (byte & 0x80 != 0).then(|| ERRNOS[usize::from(byte & 15)] as i32)
    }

    /// The last byte is the last before a page that nobody may touch: one byte too far ends the run.
    fn map(&mut self, length: usize, content: &[u8]) -> Outcome<usize> {
        self.mapped = self.mapped.saturating_add(length);
        if length == 0 || self.mapped > MOST_MEMORY {
            return Err(if length == 0 { e::EINVAL } else { e::ENOMEM } as i32);
        }
        let room = length.next_multiple_of(4096) + 4096;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let begin = unsafe { libc::mmap(std::ptr::null_mut(), room, access, kind, -1, 0) } as usize;
        assert_ne!(begin as *mut libc::c_void, libc::MAP_FAILED);
        let guard = begin + room - 4096;
        // SAFETY: the last page of that mapping, which nothing uses.
        unsafe { libc::mprotect(guard as *mut libc::c_void, 4096, libc::PROT_NONE) };
        self.maps.push((begin, room));
        // A table of words must be aligned; what is not a multiple of 8 holds bytes.
        let place = guard - length;
        // SAFETY: both lengths are within what was mapped.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), place as *mut u8, content.len().min(length)) };
        Ok(place)
    }

    /// Some bytes by chance into a buffer of the program; how many.
    fn fill(&mut self, buffer: usize, length: usize) -> usize {
        let count = usize::from(self.byte()).min(length);
        let bytes: Vec<u8> = (0..count).map(|_| self.byte()).collect();
        // SAFETY: the program says that the buffer has that length.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer as *mut u8, count) };
        count
    }

    fn answer(&mut self, number: u32, a: [usize; 6]) -> Outcome<usize> {
        // The socket to the runtime lasts: what is reported arrives.
        if number != k::__NR_sendto
            && let Some(errno) = self.refusal()
        {
            return Err(errno);
        }
        match number {
            k::__NR_openat
            | k::__NR_openat2
            | k::__NR_open_tree
            | k::__NR_fsopen
            | k::__NR_fsmount
            | k::__NR_socket
            | k::__NR_accept4 => Ok(self.fd()),
            k::__NR_mmap if a[4] as i32 == PLAN_FD => {
                let plan = std::mem::take(&mut self.plan);
                self.map(a[1], &plan)
            }
            k::__NR_mmap => self.map(a[1], &[]),
            // The word to go on, where no answer is left: a program that waits for it must not wait for ever.
            k::__NR_read if self.at >= self.answers.len() => {
                // SAFETY: as for `fill`; nobody reads into an empty buffer.
                unsafe { (a[1] as *mut u8).write(crate::step::GO) };
                Ok(1)
            }
            k::__NR_read | k::__NR_readlinkat => {
                let at = if number == k::__NR_read { 1 } else { 2 };
                Ok(self.fill(a[at], a[at + 1]))
            }
            k::__NR_getcwd => {
                let text = [&b"/\0"[..], b"/a/b\0", b"(unreachable)/a\0"][usize::from(self.byte() % 3)];
                // SAFETY: as for `fill`.
                unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), a[0] as *mut u8, text.len().min(a[1])) };
                Ok(text.len())
            }
            k::__NR_newfstatat => {
                // SAFETY: the program gives a whole struct stat.
                let out = unsafe { &mut *(a[2] as *mut k::stat) };
                let kinds = [0o020000u32, 0o040000, 0o100000, 0o120000, 0o010000, 0o060000];
                out.st_mode = kinds[usize::from(self.byte()) % kinds.len()] | self.word() & 0o7777;
                out.st_rdev = if self.byte() & 1 == 0 { 0x103 } else { self.word().into() };
                out.st_uid = self.word();
                Ok(0)
            }
            k::__NR_fstatfs => {
                // SAFETY: the program gives a whole struct statfs.
                let out = unsafe { &mut *(a[1] as *mut k::statfs) };
                out.f_type = [0x9fa0, 0x1cd1, 0x6265_6572, 0x0102_1994][usize::from(self.byte() % 4)];
                Ok(0)
            }
            k::__NR_capget => {
                // SAFETY: the program gives two structs of three words.
                let out = unsafe { &mut *(a[1] as *mut [u32; 6]) };
                out.iter_mut().for_each(|word| *word = self.word());
                Ok(0)
            }
            k::__NR_ioctl => {
                // The number of a terminal, the only answer that an ioctl of the program writes.
                if a[1] as u32 == linux_raw_sys::ioctl::TIOCGPTN {
                    // SAFETY: the program gives a word.
                    unsafe { *(a[2] as *mut u32) = self.word() };
                }
                Ok(self.fd())
            }
            // The program goes on as the child; the parent would end.
            k::__NR_clone3 => Ok(0),
            k::__NR_clone if a[0] as u32 & k::CLONE_PARENT != 0 => Ok(0),
            // A hook: as the child, or as who waits for it.
            k::__NR_clone => Ok(usize::from(self.byte() & 1) * 77),
            k::__NR_ppoll => {
                // struct pollfd; where no answer is left all has happened, so that a wait comes to its end.
                for at in 0..a[1] {
                    let happened = self.at >= self.answers.len() || self.byte() & 1 != 0;
                    // SAFETY: the program gives as many as it says.
                    unsafe { ((a[0] + 8 * at + 6) as *mut u16).write(u16::from(happened)) };
                }
                Ok(0)
            }
            k::__NR_clock_gettime => {
                self.now += 1 + u64::from(self.byte());
                // SAFETY: the program gives a struct timespec.
                unsafe { *(a[1] as *mut [u64; 2]) = [self.now, 0] };
                Ok(0)
            }
            k::__NR_pipe2 | k::__NR_socketpair => {
                let place = a[if number == k::__NR_pipe2 { 0 } else { 3 }] as *mut [i32; 2];
                // SAFETY: the program gives two numbers.
                unsafe { *place = [self.fd() as i32, self.fd() as i32] };
                Ok(0)
            }
            k::__NR_waitid => {
                // SAFETY: the program gives a struct siginfo: si_code and si_status.
                let out = unsafe { &mut *(a[2] as *mut [i32; 32]) };
                (out[2], out[6]) = (i32::from(self.byte() & 1), i32::from(self.byte()));
                Ok(0)
            }
            k::__NR_recvfrom => Ok(self.fill(a[1], a[2])),
            // It does not come back from a success.
            k::__NR_execve => Err(ERRNOS[usize::from(self.byte() & 15)] as i32),
            k::__NR_exit_group => panic!("the program ended by itself"),
            k::__NR_sendto => {
                // SAFETY: the program says that the bytes are there.
                let bytes = unsafe { std::slice::from_raw_parts(a[1] as *const u8, a[2]) };
                if let ([LISTENER, _, _, _, _], address) = bytes.split_at(5.min(bytes.len())) {
                    self.release = address.try_into().map_or(0, u64::from_le_bytes) as usize;
                }
                self.sent.extend_from_slice(bytes);
                Ok(a[2])
            }
            k::__NR_seccomp => {
                // The runtime has fetched the listener, and lets the program go on.
                let word = std::mem::take(&mut self.release) as *mut u32;
                if !word.is_null() {
                    // SAFETY: the program has told where the word is that it waits on.
                    unsafe { word.write(1) };
                }
                Ok(self.fd())
            }
            k::__NR_write => Ok(a[2]),
            // Mounts that are stacked come to an end.
            k::__NR_umount2 if self.at >= self.answers.len() => Err(e::EINVAL as i32),
            _ => Ok(0),
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for (begin, length) in self.maps.drain(..) {
            // SAFETY: mapped by `map`; the run is over.
            unsafe { libc::munmap(begin as *mut libc::c_void, length) };
        }
    }
}

/// In the place of the system call.
///
/// # Safety
/// As the real one: pointers must be valid for what the call does with them.
pub unsafe fn call(number: u32, a: [usize; 6]) -> Outcome<usize> {
    KERNEL.with_borrow_mut(|kernel| kernel.answer(number, a))
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// An input is the length of the steps, the steps, and the answers.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some(rest.split_at(length.min(rest.len())))
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((steps, answers)) = split(data) else { return Corpus::Reject };
    both_sides_agree(steps);
    let mut plan = Vec::new();
    let slots = [20, 21, 22, 23, -1].iter().fold(Vec::new(), |mut bytes, fd: &i32| {
        fd.write(&mut bytes);
        bytes
    });
    let head = Head { control: 4, socket: 5, preserve: 0, fault: u32::MAX, slots: List::new(5, &slots) };
    head.write(&mut plan);
    plan.extend_from_slice(steps);
    let length = plan.len();
    // The calls of the start, which maps the plan and the page and names the process, always succeed: nothing is done without.
    let answers = [&[0, 0, 0, 0][..], answers].concat();
    let mut kernel = Kernel::default();
    (kernel.plan, kernel.answers) = (plan, answers);
    KERNEL.set(kernel);
    let outcome = crate::run(PLAN_FD, length);
    let kernel = KERNEL.take();
    check_report(outcome, &kernel.sent);
    Corpus::Keep
});

/// A step that failed was named, so that the runtime has words for it.
fn check_report(outcome: Result<(), i32>, sent: &[u8]) {
    assert!(outcome.is_ok() || sent.contains(&FAILED), "{outcome:?} was not reported");
    // From every place where a report may begin: waiting init also sends single bytes.
    for start in (0..sent.len().min(64)).filter(|at| sent[*at] == FAILED) {
        let words = nfrun::init::program::describe_failure(&sent[start..]);
        assert!(words.is_none_or(|words| !words.to_string().is_empty()));
    }
}

/// What init takes for a step the runtime takes for the same one, and either's bytes are the other's.
fn both_sides_agree(steps: &[u8]) {
    use nfrun::init::{step as host, wire};
    let (mut here, mut there) = (Reader(steps), wire::Reader(steps));
    loop {
        let number = (u32::read(&mut here), <u32 as wire::Wire>::read(&mut there));
        assert_eq!(number.0, number.1);
        let (mine, theirs) = (Step::read(&mut here), <host::Step as wire::Wire>::read(&mut there));
        let (Some(mine), Some(theirs)) = (mine, theirs) else {
            assert!(mine.is_none() && theirs.is_none(), "one side reads a step, the other does not");
            return;
        };
        assert_eq!(here.0.len(), there.0.len());
        let (mut written, mut again) = (Vec::new(), Vec::new());
        mine.write(&mut written);
        wire::Wire::write(&theirs, &mut again);
        assert_eq!(written, again);
        // Words and JSON of any step that decodes.
        assert!(!theirs.to_string().is_empty());
        serde_json::to_string(&theirs).expect("a step in JSON");
    }
}

// Beside libFuzzer's own changes, such as make sense for steps behind one another and for text behind its length.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let Some((steps, answers)) = split(&data[..size]) else {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    };
    let mut dice = seed;
    let mut list = separate(steps);
    let mut answers = answers.to_vec();
    match seed % 4 {
        1 => change_steps(&mut list, &mut dice),
        2 => change_text(&mut list, &mut dice),
        _ => {
            let room = answers.len() + 16;
            answers.resize(room, 0);
            let length = libfuzzer_sys::fuzzer_mutate(&mut answers, room - 16, room);
            answers.truncate(length);
        }
    }
    let steps = list.concat();
    let whole = [&(steps.len() as u32).to_le_bytes()[..], &steps, &answers].concat();
    let length = whole.len().min(max_size);
    data[..length].copy_from_slice(&whole[..length]);
    length
});

/// The next number of a small generator, below a bound.
fn roll(dice: &mut u32, below: usize) -> usize {
    *dice = dice.wrapping_mul(0x915f_77f5).wrapping_add(0x9e37_79b9);
    (*dice >> 8) as usize % below.max(1)
}

/// Each step with its number; what is no step at the end.
fn separate(mut steps: &[u8]) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    loop {
        let mut reader = Reader(steps);
        let read = u32::read(&mut reader).and_then(|_| Step::read(&mut reader));
        if read.is_none() {
            list.push(steps.to_vec());
            return list;
        }
        let (step, rest) = steps.split_at(steps.len() - reader.0.len());
        list.push(step.to_vec());
        steps = rest;
    }
}

fn change_steps(list: &mut Vec<Vec<u8>>, dice: &mut u32) {
    let (a, b) = (roll(dice, list.len()), roll(dice, list.len()));
    match roll(dice, 4) {
        0 => drop(list.remove(a)),
        1 => list.insert(b, list[a].clone()),
        2 => list.swap(a, b),
        // One family's step with another tag.
        _ => {
            let room = list[a].len();
            if let Some(byte) = list[a].get_mut(if roll(dice, 2) == 0 { 4 } else { 5 + *dice as usize % room.max(1) }) {
                *byte = roll(dice, 16) as u8;
            }
        }
    }
}

/// Another text in the place of one, with its length.
fn change_text(list: &mut [Vec<u8>], dice: &mut u32) {
    const TEXTS: [&CStr; 12] = [
        c"",
        c"/",
        c"/proc",
        c"//a/./../b",
        c"proc",
        c"tmpfs",
        c"mode=755",
        c"a:b::/c:",
        c"#!",
        c"/a/b/c/d/e/f/g",
        c".",
        c"sh",
    ];
    let a = roll(dice, list.len());
    let step = &mut list[a];
    let begin = roll(dice, step.len());
    for at in begin..step.len() {
        let mut reader = Reader(&step[at..]);
        let Some(Bytes(old)) = Bytes::read(&mut reader) else { continue };
        if old.last() != Some(&0) {
            continue;
        }
        let end = at + 4 + old.len();
        let mut new = TEXTS[roll(dice, TEXTS.len())].to_bytes().to_vec();
        // Around the length of the buffers.
        match roll(dice, 8) {
            0 => new = vec![b'a'; 4090 + roll(dice, 12)],
            1 => new = b"a/".repeat(2042 + roll(dice, 8)),
            _ => {}
        }
        new.push(0);
        let mut bytes = Vec::new();
        Bytes(&new).write(&mut bytes);
        step.splice(at..end, bytes);
        return;
    }
}
