//! What nfrun reads back from disk, from /proc or from the kernel: state.json, undo records, mount tables, netlink messages. A file that was cut, or written by
//! another version, is an error and never a panic; a record that is read comes back from its own text.

#![no_main]

mod json;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use nfrun::bundle::config;
use nfrun::cgroup::Layout;
use nfrun::container::RecordedState;
use nfrun::network::netlink::{attribute, message};
use nfrun::undo;

// The first byte says what the rest is taken for.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    if *kind == b'n' {
        return netlink(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind {
        b'u' => record(text),
        b'{' => state(std::str::from_utf8(data).unwrap_or_default()),
        b'm' => layout(text),
        _ => {}
    }
});

fn record(text: &str) {
    let Ok(Some(record)) = undo::parse(text) else { return };
    let undos = record.undos();
    // As many as intents and processes, however often something was made.
    assert!(undos.len() < text.lines().count());
    // A writer that dies leaves a shorter file: it is read as well, and holds no more.
    let end = text.trim_end_matches('\n').rfind('\n').map_or(0, |end| end + 1);
    let shorter = undo::parse(&text[..end]).expect("a record that was cut");
    assert!(shorter.is_none_or(|shorter| shorter.undos().len() <= undos.len()));
}

fn state(text: &str) {
    let Ok(state) = serde_json::from_str::<RecordedState>(text) else { return };
    let written = serde_json::to_string(&state).expect("a state in JSON");
    let again: RecordedState = serde_json::from_str(&written).expect("what was written");
    assert_eq!(written, serde_json::to_string(&again).expect("a state in JSON"));
    let _ = config::parse(state.config.get());
}

/// Every part lies within the whole, and each is taken apart as far as it says to go.
fn netlink(bytes: &[u8]) {
    let Ok(messages) = message::parse(bytes) else { return };
    assert!(messages.iter().map(|message| message.body.len() + message::HEAD).sum::<usize>() <= bytes.len());
    for message in messages {
        for skipped in [0, 4, 8, 16] {
            let Ok(attributes) = attribute::parse(message.body.get(skipped..).unwrap_or_default()) else { continue };
            for (kind, value) in attributes {
                attribute::text(value);
                let _ = attribute::number(value);
                let mut again = Vec::new();
                attribute::put(&mut again, kind, value).expect("what its length could tell");
                assert_eq!(attribute::parse(&again).expect("what was put"), [(kind, value)]);
            }
        }
    }
}

/// A mount table, an empty line, and /proc/self/cgroup.
fn layout(text: &str) {
    let (mounts, own) = text.split_once("\n\n").unwrap_or((text, ""));
    let Ok(layout) = Layout::parse(mounts, own) else { return };
    layout.mode();
    for path in [None, Some("a/b"), Some("/a/../b"), Some("system.slice:a:b")] {
        let Ok(place) = nfrun::cgroup::place(&layout, path.map(std::path::Path::new), "fuzz") else { continue };
        for cgroup in &place.cgroups {
            assert!(!cgroup.path.split('/').any(|part| part == ".."), "{cgroup:?}");
        }
        let _ = nfrun::cgroup::plan(&place, None, None);
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = match data.first() {
        Some(b'{') if seed % 4 != 0 => json::mutate_bytes(data, size, max_size, seed, WORDS),
        _ => None,
    };
    changed.unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

const WORDS: &[&str] =
    &["version", "init", "pid", "inode", "start", "place", "cgroups", "config", "", "0", "/", "v1", "v2"];
