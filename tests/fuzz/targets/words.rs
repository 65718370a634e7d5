//! Words of the command line, and texts of config.json with a grammar of their own: `exec --user`, whole command lines,
//! mount options, id mappings, signals. Each is held against a reading of the same that is written here in another way.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use nfrun::cli::fuzzing::{read_line, signal, user};
use nfrun::init::mounts::plan::Options;
use nfrun::init::namespaces::ids::{self, is_mapped};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        b'u' => check_user(rest),
        b'l' => line(rest),
        b'o' => options(rest),
        b'm' => mappings(rest),
        b's' => check_signal(rest),
        _ => {}
    }
});

/// CVE-2026-30892: digits, perhaps a colon and digits, and nothing else; the number that was written and no other.
fn check_user(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let number = |part: &str| {
        // One plus sign is Go's as well as Rust's number.
        let digits = part.strip_prefix('+').unwrap_or(part);
        let valid = !digits.is_empty() && digits.len() < 100 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let next = |value: u32, digit: char| value.checked_mul(10)?.checked_add(digit.to_digit(10)?);
        digits.chars().try_fold(0, next).filter(|_| valid)
    };
    let meant = match text.split_once(':') {
        Some((uid, gid)) => number(uid).zip(number(gid)).map(|(uid, gid)| (uid, Some(gid))),
        None => number(text).map(|uid| (uid, None)),
    };
    if text.len() < 100 {
        assert_eq!(user(text).ok(), meant, "{text:?}");
    }
    let _ = user(text).map_err(|error| error.to_string());
}

/// Words with NULs between them, as /proc/PID/cmdline has them.
fn line(data: &[u8]) {
    let words: Vec<OsString> = data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let count = words.len();
    // A command line gives at most as many words as it has.
    assert!(read_line(words).is_none_or(|read| read <= count));
}

fn options(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let list: Vec<String> = text.split(',').map(str::to_owned).collect();
    let Ok(read) = Options::read(&list, "mounts[0]") else { return };
    // The last of two opposites holds: what comes before, once more, changes nothing.
    let twice: Vec<String> = list.iter().chain(&list).cloned().collect();
    if let Ok(again) = Options::read(&twice, "mounts[0]") {
        assert_eq!(flags_of(&read), flags_of(&again), "{list:?}");
    }
    for (on, off) in [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")] {
        let last = list.iter().rfind(|option| *option == on || *option == off);
        assert_eq!(has(&read, on), last.is_some_and(|last| last == on), "{on} of {list:?}");
    }
}

/// Flags without what is listed once for each time it is given.
fn flags_of(options: &Options) -> (u64, u64) {
    options.flags()
}

fn has(options: &Options, name: &str) -> bool {
    let bit = match name {
        "ro" => libc::MS_RDONLY,
        "nosuid" => libc::MS_NOSUID,
        "nodev" => libc::MS_NODEV,
        _ => libc::MS_NOEXEC,
    };
    options.flags().0 & bit != 0
}

/// Twelve bytes a mapping. Right is what maps no id twice, on either side; that is tried on the ends of all ranges.
fn mappings(data: &[u8]) {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let list: Vec<LinuxIdMapping> = data
        .chunks_exact(12)
        .map(|bytes| {
            let builder = LinuxIdMappingBuilder::default().container_id(word(&bytes[..4])).host_id(word(&bytes[4..8]));
            builder.size(word(&bytes[8..])).build().expect("a mapping")
        })
        .collect();
    let ranges = |of: fn(&LinuxIdMapping) -> u32| {
        list.iter().map(|map| (u64::from(of(map)), u64::from(of(map)) + u64::from(map.size()))).collect::<Vec<_>>()
    };
    let sound = |ranges: &[(u64, u64)]| {
        let mut sorted = ranges.to_vec();
        sorted.sort();
        sorted.windows(2).all(|pair| pair[0].1 <= pair[1].0)
            && ranges.iter().all(|range| range.1 <= 1 << 32 && range.0 < range.1)
    };
    let (inside, outside) = (ranges(LinuxIdMapping::container_id), ranges(LinuxIdMapping::host_id));
    let right = sound(&inside) && sound(&outside) && list.len() <= 340;
    let text = ids::map("linux.uidMappings", &list);
    assert_eq!(text.is_ok(), right, "{list:?}");
    let Ok(text) = text else { return };
    assert_eq!(text.lines().count(), list.len());
    for (first, end) in inside {
        for id in [first, end - 1, end, first.wrapping_sub(1)].into_iter().filter_map(|id| u32::try_from(id).ok()) {
            let lies_in = ranges(LinuxIdMapping::container_id)
                .iter()
                .any(|range| range.0 <= id.into() && u64::from(id) < range.1);
            assert_eq!(is_mapped(&list, id), lies_in, "{id} in {list:?}");
        }
    }
}

fn check_signal(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(number) = signal(text) {
        assert!((0..=64).contains(&number), "{text:?}");
        assert!(text.is_ascii() && !text.contains(char::is_whitespace), "{text:?} is taken for {number}");
    }
}
