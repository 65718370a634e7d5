//! A mount's options: mount(8) for their meaning, config.md, "Linux mount options", for the recursive ones.

use crate::{Error, Result};

/// An option that sets or clears a mount flag: its name, MS_* bits, whether it clears.
const FLAGS: [(&str, u64, bool); 31] = [
    ("ro", libc::MS_RDONLY, false),
    ("rw", libc::MS_RDONLY, true),
    ("nosuid", libc::MS_NOSUID, false),
    ("suid", libc::MS_NOSUID, true),
    ("nodev", libc::MS_NODEV, false),
    ("dev", libc::MS_NODEV, true),
    ("noexec", libc::MS_NOEXEC, false),
    ("exec", libc::MS_NOEXEC, true),
    ("sync", libc::MS_SYNCHRONOUS, false),
    ("async", libc::MS_SYNCHRONOUS, true),
    ("dirsync", libc::MS_DIRSYNC, false),
    ("remount", libc::MS_REMOUNT, false),
    ("mand", libc::MS_MANDLOCK, false),
    ("nomand", libc::MS_MANDLOCK, true),
    ("atime", libc::MS_NOATIME, true),
    ("noatime", libc::MS_NOATIME, false),
    ("diratime", libc::MS_NODIRATIME, true),
    ("nodiratime", libc::MS_NODIRATIME, false),
    ("relatime", libc::MS_RELATIME, false),
    ("norelatime", libc::MS_RELATIME, true),
    ("strictatime", libc::MS_STRICTATIME, false),
    ("nostrictatime", libc::MS_STRICTATIME, true),
    ("iversion", libc::MS_I_VERSION, false),
    ("noiversion", libc::MS_I_VERSION, true),
    // MS_LAZYTIME of linux/mount.h.
    ("lazytime", 1 << 25, false),
    ("nolazytime", 1 << 25, true),
    ("bind", libc::MS_BIND, false),
    ("rbind", libc::MS_BIND | libc::MS_REC, false),
    ("silent", libc::MS_SILENT, false),
    ("loud", libc::MS_SILENT, true),
    ("nosymfollow", 256, false),
];
/// An option for a mount and all below it: its name, the MOUNT_ATTR_* bits to set, those to clear.
const RECURSIVE: [(&str, u64, u64); 18] = [
    ("rro", 1, 0),
    ("rrw", 0, 1),
    ("rnosuid", 2, 0),
    ("rsuid", 0, 2),
    ("rnodev", 4, 0),
    ("rdev", 0, 4),
    ("rnoexec", 8, 0),
    ("rexec", 0, 8),
    ("rnodiratime", 0x80, 0),
    ("rdiratime", 0, 0x80),
    ("rrelatime", 0, 0x70),
    ("rnorelatime", 0, 0x70),
    ("rnoatime", 0x10, 0x70),
    ("ratime", 0, 0x70),
    ("rstrictatime", 0x20, 0x70),
    ("rnostrictatime", 0, 0x70),
    ("rnosymfollow", 0x20_0000, 0),
    ("rsymfollow", 0, 0x20_0000),
];
/// Options that are neither a flag nor a propagation.
const OTHERS: [&str; 5] = ["defaults", "idmap", "ridmap", "symfollow", "tmpcopyup"];

/// Every option that is understood here, sorted; any other is the filesystem's own.
pub fn option_names() -> Vec<&'static str> {
    const PROPAGATION: [&str; 8] =
        ["private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable"];
    let flags = FLAGS.iter().map(|flag| flag.0).chain(RECURSIVE.iter().map(|flag| flag.0));
    let mut names: Vec<_> = flags.chain(OTHERS).chain(PROPAGATION).collect();
    names.sort_unstable();
    names
}

/// A propagation option's MS_* flags.
pub fn propagation(name: &str) -> Option<u64> {
    let (recursive, plain) = match name.strip_prefix('r') {
        Some(rest) => (libc::MS_REC, rest),
        None => (0, name),
    };
    let kind = match plain {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

/// The option's name for flags.
pub fn propagation_name(flags: u64) -> String {
    let names = ["private", "slave", "shared", "unbindable"];
    let name = names.into_iter().find(|name| propagation(name) == Some(flags & !libc::MS_REC)).unwrap_or("unknown");
    if flags & libc::MS_REC != 0 { format!("r{name}") } else { name.to_owned() }
}

/// A mount's options, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// MS_* flags that are set, and those that are cleared.
    pub(super) set: u64,
    pub(super) clear: u64,
    /// MS_* flags of each propagation option.
    pub(super) propagation: Vec<u64>,
    /// MOUNT_ATTR_* to set and to clear on the mount and all below.
    pub(super) recursive: (u64, u64),
    /// `idmap`, or with true `ridmap`.
    pub(super) mapped: Option<bool>,
    /// What is the filesystem's own.
    pub(super) data: Vec<String>,
    /// `tmpcopyup`.
    pub(super) copy_up: bool,
}

impl Options {
    /// Reads options; `field` names the mount in errors.
    pub fn read(options: &[String], field: &str) -> Result<Self> {
        let mut this = Self::default();
        for option in options {
            if let Some((_, bits, clears)) = FLAGS.iter().find(|flag| flag.0 == option) {
                let (on, off) =
                    if *clears { (&mut this.clear, &mut this.set) } else { (&mut this.set, &mut this.clear) };
                *on |= bits;
                *off &= !bits;
            } else if let Some((_, set, clear)) = RECURSIVE.iter().find(|flag| flag.0 == option) {
                this.recursive = ((this.recursive.0 & !clear) | set, (this.recursive.1 & !set) | clear);
            } else if option == "symfollow" {
                this.clear |= 256;
                this.set &= !256;
            } else if let Some(flags) = propagation(option) {
                this.propagation.push(flags);
            } else if option == "tmpcopyup" {
                this.copy_up = true;
            } else if option == "defaults" || option.is_empty() {
            } else if option == "idmap" || option == "ridmap" {
                this.mapped = Some(option == "ridmap" || this.mapped == Some(true));
            } else if option.starts_with("idmap=") || option.starts_with("ridmap=") {
                return Err(Error::invalid(format!(
                    "{field}.options: {option:?}: the mappings of a mount are its uidMappings and gidMappings, not a value of the option"
                )));
            } else {
                this.data.push(option.clone());
            }
        }
        this.refuse_conflicts(options, field)?;
        Ok(this)
    }

    fn refuse_conflicts(&self, options: &[String], field: &str) -> Result<()> {
        let has = |name: &str| options.iter().any(|option| option == name);
        let atimes: Vec<_> = ["noatime", "relatime", "strictatime"].into_iter().filter(|name| has(name)).collect();
        let (bind, rbind) = (has("bind"), has("rbind"));
        if atimes.len() > 1 {
            let names = atimes.join(" and ");
            return Err(Error::invalid(format!("{field}.options: {names} conflict: keep one of them")));
        }
        if let [first, second, ..] = self.propagation.as_slice()
            && first & !libc::MS_REC != second & !libc::MS_REC
        {
            let names = format!("{} and {}", propagation_name(*first), propagation_name(*second));
            return Err(Error::invalid(format!("{field}.options: {names} conflict: keep one of them")));
        }
        for (i, option) in self.data.iter().enumerate() {
            let key = |option: &'_ String| option.split('=').next().unwrap_or_default().to_owned();
            if let Some(other) = self.data[..i].iter().find(|other| *other != option && key(other) == key(option)) {
                return Err(Error::invalid(format!(
                    "{field}.options: {other} and {option} conflict: keep one of them"
                )));
            }
        }
        if self.copy_up && (bind || rbind) {
            return Err(Error::invalid(format!("{field}.options: tmpcopyup and bind conflict: keep one of them")));
        }
        Ok(())
    }

    /// MS_* flags that are set, and those that are cleared.
    #[cfg(fuzzing)]
    pub fn flags(&self) -> (u64, u64) {
        (self.set, self.clear)
    }

    pub(super) fn is_bind(&self) -> bool {
        self.set & libc::MS_BIND != 0
    }

    /// MOUNT_ATTR_* of the flags that a mount of its own can have: mount_setattr(2).
    pub(super) fn attributes(&self) -> (u64, u64) {
        const SAME: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        const ATIME_MASK: u64 = 0x70;
        let (mut set, mut clear) = (self.set & SAME, self.clear & SAME);
        let atime = [(libc::MS_NOATIME, 0x10), (libc::MS_STRICTATIME, 0x20), (libc::MS_RELATIME, 0)];
        if let Some((_, value)) = atime.into_iter().find(|(flag, _)| self.set & flag != 0) {
            set |= value;
            clear |= ATIME_MASK;
        } else if self.clear & libc::MS_NOATIME != 0 {
            // `atime`: no longer noatime, which leaves the kernel's default, relatime.
            clear |= ATIME_MASK;
        }
        for (flag, attribute) in [(libc::MS_NODIRATIME, 0x80), (256, 0x20_0000)] {
            if self.set & flag != 0 {
                set |= attribute;
            }
            if self.clear & flag != 0 {
                clear |= attribute;
            }
        }
        (set, clear)
    }

    pub(super) fn data(&self) -> String {
        self.data.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<Options> {
        Options::read(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(), "mounts[0]")
    }

    #[test]
    fn the_last_of_ro_and_rw_wins_as_in_runc() {
        assert_eq!(read(&["ro", "rw"]).unwrap().set, 0);
        assert_eq!(read(&["rw", "ro"]).unwrap().set, libc::MS_RDONLY);
    }

    #[test]
    fn what_is_no_flag_goes_to_the_filesystem() {
        let options = read(&["nosuid", "mode=755", "size=64k"]).unwrap();
        assert_eq!(options.data(), "mode=755,size=64k");
        assert_eq!(options.set, libc::MS_NOSUID);
    }

    #[test]
    fn every_name_that_is_listed_is_understood_and_none_twice() {
        let names = option_names();
        for name in &names {
            let options = read(&[name]).unwrap();
            assert_eq!(options.data, Vec::<String>::new(), "{name}");
            assert!(*name == "defaults" || options != Options::default(), "{name} does nothing");
        }
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names);
    }

    #[test]
    fn conflicts_are_refused_by_name() {
        assert!(
            read(&["noatime", "strictatime"])
                .unwrap_err()
                .to_string()
                .contains("mounts[0].options: noatime and strictatime")
        );
        assert!(read(&["shared", "private"]).unwrap_err().to_string().contains("shared and private"));
        assert!(read(&["size=1m", "size=2m"]).unwrap_err().to_string().contains("size"));
        assert!(read(&["idmap=uids=0-1-2"]).unwrap_err().to_string().contains("uidMappings and gidMappings"));
    }

    #[test]
    fn of_two_recursive_access_times_the_last_counts_and_others_stay() {
        assert_eq!(read(&["rnoatime", "rro", "rstrictatime"]).unwrap().recursive, (0x21, 0x70));
        assert_eq!(read(&["rstrictatime", "rrelatime"]).unwrap().recursive, (0, 0x70));
        assert_eq!(read(&["rro", "rrw", "rnosuid"]).unwrap().recursive, (2, 1));
    }

    /// Every word of config.md's table, the plain form beside the recursive one: both mean the same bits.
    #[test]
    fn the_recursive_forms_mean_what_the_plain_ones_do() {
        for word in "ro rw suid nosuid dev nodev exec noexec atime noatime diratime nodiratime relatime strictatime \
                     symfollow nosymfollow"
            .split_whitespace()
        {
            let recursive = read(&[&format!("r{word}")]).unwrap();
            assert_eq!(recursive.data, Vec::<String>::new(), "r{word}");
            assert_eq!(recursive.recursive, read(&[word]).unwrap().attributes(), "{word}");
        }
        for word in ["rnorelatime", "rnostrictatime"] {
            assert_eq!(read(&[word]).unwrap().recursive, (0, 0x70), "{word}");
        }
    }

    #[test]
    fn propagation_names_go_both_ways() {
        for name in ["private", "rslave", "rshared", "unbindable"] {
            assert_eq!(propagation_name(propagation(name).unwrap()), name);
        }
        assert_eq!(propagation("remount"), None);
    }
}
