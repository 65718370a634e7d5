//! Device rules as systemd has them: DevicePolicy= and DeviceAllow= (systemd.resource-control(5)), which know what is
//! allowed and no exception from it.

use super::super::devices::DeviceWrite;
use super::super::step::Version;

/// The policy and the list of what is allowed.
///
/// On cgroup2 systemd's program is beside ours, and both have to allow an access. What cannot be said in systemd's words
/// is therefore not said at all: ours holds alone, and systemd leaves it where it is. On v1 systemd writes the same files
/// as we, everything allowed when it was told nothing, so that there it is told what can be said.
pub(super) fn policy(writes: &[DeviceWrite], version: Version) -> (&'static str, Vec<(String, String)>) {
    let auto = ("auto", Vec::new());
    let Some(DeviceWrite::Deny(_)) = writes.first() else {
        if version == Version::V1 && writes.len() > 1 {
            log::warn!(
                "linux.resources.devices: systemd knows no exceptions from what is allowed: a daemon-reload allows all"
            );
        }
        return auto;
    };
    let mut allowed = Vec::new();
    for write in &writes[1..] {
        let entry = match write {
            DeviceWrite::Allow(text) => entry(text),
            DeviceWrite::Deny(_) => None,
        };
        match entry {
            Some(entry) => allowed.push(entry),
            None if version == Version::V2 => return auto,
            None => log::warn!("linux.resources.devices: systemd cannot be told of {write}: a daemon-reload denies it"),
        }
    }
    ("strict", allowed)
}

/// `c 1:3 rwm`: a node by its numbers, which need not exist, or a group of nodes by its driver's name.
fn entry(text: &str) -> Option<(String, String)> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let class = if kind == "b" { "block" } else { "char" };
    let node = match numbers.split_once(':')? {
        ("*", "*") => format!("{class}-*"),
        // A driver of a minor number, whatever the major: there is no word for that.
        ("*", _) => return None,
        (major, "*") => format!("{class}-{}", driver(class, major)?),
        (major, minor) => format!("/dev/{class}/{major}:{minor}"),
    };
    Some((node, access.to_owned()))
}

/// The name under which the kernel lists a major number; the one of pseudo-terminals, which every container may use, is
/// known.
fn driver(class: &str, major: &str) -> Option<String> {
    if (class, major) == ("char", "136") {
        return Some("pts".into());
    }
    find_driver(&std::fs::read_to_string("/proc/devices").ok()?, class, major)
}

fn find_driver(table: &str, class: &str, major: &str) -> Option<String> {
    let heading = if class == "block" { "Block devices:" } else { "Character devices:" };
    let lines = table.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    let known: Vec<_> = lines.filter_map(|line| line.trim().split_once(' ')).collect();
    // systemd takes a pattern there; a driver whose name is one cannot be named. Nor can one of several numbers, as `sd` is,
    // of which the others would be allowed with this one.
    let is_one = |name: &str| known.iter().filter(|(_, other)| *other == name).count() == 1;
    let is_plain = |name: &str| !name.contains(['*', '?', '[', '\\']);
    let mut names = known.iter().filter(|(number, _)| *number == major).map(|(_, name)| *name);
    names.find(|name| is_one(name) && is_plain(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::super::devices::rules_to_writes;
    use super::*;

    fn shown(rules: &str, version: Version) -> (String, Vec<String>) {
        let writes = rules_to_writes(&serde_json::from_str::<Vec<_>>(rules).unwrap()).unwrap();
        let (policy, allowed) = policy(&writes, version);
        (policy.to_owned(), allowed.into_iter().map(|(node, access)| format!("{node} {access}")).collect())
    }

    #[test]
    fn the_default_devices_have_names_and_numbers() {
        let (policy, allowed) = shown("[]", Version::V2);
        assert_eq!(policy, "strict");
        assert_eq!(
            allowed,
            [
                "char-* m",
                "block-* m",
                "/dev/char/1:3 rwm",
                "/dev/char/1:8 rwm",
                "/dev/char/1:7 rwm",
                "/dev/char/5:0 rwm",
                "/dev/char/1:5 rwm",
                "/dev/char/1:9 rwm",
                "char-pts rwm",
                "/dev/char/5:2 rwm"
            ]
        );
    }

    #[test]
    fn what_systemd_has_no_words_for_leaves_cgroup2_to_our_program_and_v1_to_the_rest() {
        let odd = r#"[{"allow": true, "type": "b", "major": -1, "minor": 5, "access": "r"}]"#;
        assert_eq!(shown(odd, Version::V2), ("auto".into(), vec![]));
        let (policy, allowed) = shown(odd, Version::V1);
        assert_eq!((policy.as_str(), allowed.len()), ("strict", 10));
        assert_eq!(shown(r#"[{"allow": true, "access": "rwm"}]"#, Version::V2), ("auto".into(), vec![]));
    }

    #[test]
    fn a_major_number_goes_by_its_drivers_name() {
        let table =
            "Character devices:\n  1 mem\n  4 /dev/vc/0\n 10 misc\n\nBlock devices:\n  8 sd\n  7 loop\n 65 sd\n";
        assert_eq!(find_driver(table, "char", "10").as_deref(), Some("misc"));
        assert_eq!(find_driver(table, "block", "7").as_deref(), Some("loop"));
        assert_eq!(find_driver(table, "block", "10"), None);
        assert_eq!(find_driver(table, "block", "8"), None, "65 would be allowed too");
        assert_eq!(find_driver(table, "char", "4").as_deref(), Some("/dev/vc/0"));
    }
}
