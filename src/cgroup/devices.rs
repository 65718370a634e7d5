//! The v1 devices controller (Documentation/admin-guide/cgroup-v1/devices.rst): the spec's ordered list of rules,
//! followed by the devices that every container may use, becomes the fewest writes that give the same policy.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::Serialize;

use crate::{Error, Result};

/// One write to one of the controller's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceWrite {
    /// To `devices.allow`.
    Allow(String),
    /// To `devices.deny`.
    Deny(String),
}

impl DeviceWrite {
    /// The file's name and what is written to it.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Allow(text) => ("devices.allow", text),
            Self::Deny(text) => ("devices.deny", text),
        }
    }
}

impl fmt::Display for DeviceWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(text) => write!(f, "allow {text}"),
            Self::Deny(text) => write!(f, "deny {text}"),
        }
    }
}

/// A set of the accesses r, w and m(knod).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(pub(super) u8);

impl Access {
    const LETTERS: [char; 3] = ['r', 'w', 'm'];
    const MKNOD: Self = Self(4);
    pub(super) const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let bit = |c| Self::LETTERS.iter().position(|letter| *letter == c).map(|at| 1u8 << at);
        text.chars().try_fold(0, |set, c| Some(set | bit(c)?)).map(Self)
    }

    fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in Self::LETTERS.into_iter().enumerate() {
            if self.0 & (1 << at) != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Which devices an exception is about; `None` stands for every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) kind: char,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

impl Devices {
    const fn new(kind: char, major: Option<u32>, minor: Option<u32>) -> Self {
        Self { kind, major, minor }
    }

    fn contains(self, other: Self) -> bool {
        self.kind == other.kind
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{}", self.kind, number(self.major), number(self.minor))
    }
}

/// What runc lets every container use whatever the spec says: making any node, null, random, full, tty, zero, urandom,
/// the pseudo-terminals and their multiplexer.
const DEFAULT: [(Devices, Access); 10] = [
    (Devices::new('c', None, None), Access::MKNOD),
    (Devices::new('b', None, None), Access::MKNOD),
    (Devices::new('c', Some(1), Some(3)), Access::ALL),
    (Devices::new('c', Some(1), Some(8)), Access::ALL),
    (Devices::new('c', Some(1), Some(7)), Access::ALL),
    (Devices::new('c', Some(5), Some(0)), Access::ALL),
    (Devices::new('c', Some(1), Some(5)), Access::ALL),
    (Devices::new('c', Some(1), Some(9)), Access::ALL),
    (Devices::new('c', Some(136), None), Access::ALL),
    (Devices::new('c', Some(5), Some(2)), Access::ALL),
];

/// The controller's state as the kernel keeps it: a default and the exceptions from it.
pub(super) struct Policy {
    pub(super) allow_all: bool,
    exceptions: Vec<(Devices, Access)>,
}

impl Policy {
    /// Allows or denies everything; the kernel forgets all exceptions then, and so does this.
    fn reset(&mut self, allow: bool) {
        self.allow_all = allow;
        self.exceptions.clear();
    }

    /// Applies one rule. The kernel cannot make an exception from an exception, and ignores the attempt; to ignore a
    /// deny would be dangerous, so it is an error here.
    fn apply(&mut self, allow: bool, devices: Devices, access: Access) -> Result<(), Devices> {
        if allow != self.allow_all {
            match self.exceptions.iter().position(|(known, _)| *known == devices) {
                Some(at) => self.exceptions[at].1 = Access(self.exceptions[at].1.0 | access.0),
                None => self.exceptions.push((devices, access)),
            }
            return Ok(());
        }
        let wider =
            |(known, held): &&(Devices, Access)| *known != devices && known.contains(devices) && held.0 & access.0 != 0;
        if let Some((known, _)) = self.exceptions.iter().find(wider) {
            return Err(*known);
        }
        // A later rule holds over every earlier one that it covers.
        for (known, held) in &mut self.exceptions {
            if devices.contains(*known) {
                held.0 &= !access.0;
            }
        }
        self.exceptions.retain(|(_, held)| *held != Access(0));
        Ok(())
    }

    /// The writes that bring a cgroup of any state here: a reset, then each exception that no other covers.
    pub(super) fn writes(&self) -> Vec<DeviceWrite> {
        let mut writes = vec![write(self.allow_all, "a".to_owned())];
        writes.extend(self.needed().map(|(devices, access)| write(!self.allow_all, format!("{devices} {access}"))));
        writes
    }

    /// The exceptions that no other covers, which are those that the kernel is told.
    pub(super) fn needed(&self) -> impl Iterator<Item = (Devices, Access)> {
        let covered = |devices: Devices, access: Access| {
            self.exceptions
                .iter()
                .any(|(other, held)| *other != devices && other.contains(devices) && access.within(*held))
        };
        self.exceptions.iter().copied().filter(move |(devices, access)| !covered(*devices, *access))
    }

    /// The accesses that this policy makes an exception of and the other does not, for exactly these devices.
    fn beyond(&self, other: &Self) -> Vec<String> {
        let held: Vec<_> = other.needed().collect();
        let more = self.needed().filter_map(|(devices, access)| {
            let same = held.iter().find(|(known, _)| *known == devices).map_or(0, |(_, access)| access.0);
            let left = Access(access.0 & !same);
            (left != Access(0)).then(|| format!("{devices} {left}"))
        });
        more.collect()
    }

    /// The writes from this policy to another. What is new comes before what goes, so that there is no moment in which
    /// a device is denied that is allowed before and after (nor, where all is allowed, the reverse). The default itself
    /// changes only by a reset, which is such a moment.
    fn transition(&self, to: &Self) -> Transition {
        if self.allow_all != to.allow_all {
            return Transition { writes: to.writes(), at_rest: true };
        }
        let added = to.beyond(self).into_iter().map(|text| write(!to.allow_all, text));
        let gone = self.beyond(to).into_iter().map(|text| write(to.allow_all, text));
        Transition { writes: added.chain(gone).collect(), at_rest: false }
    }
}

fn write(allow: bool, text: String) -> DeviceWrite {
    if allow { DeviceWrite::Allow(text) } else { DeviceWrite::Deny(text) }
}

/// How one list of rules becomes another in a cgroup that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The writes, in order.
    pub writes: Vec<DeviceWrite>,
    /// Whether the processes have to stand still meanwhile, since between two writes the rules are neither the old nor
    /// the new.
    pub at_rest: bool,
}

/// The writes that change the rules of a cgroup from one list to another. What another program has allowed besides
/// stays, but where everything is reset.
///
/// # Errors
/// As [`rules_to_writes`].
pub fn transition(from: &[LinuxDeviceCgroup], to: &[LinuxDeviceCgroup]) -> Result<Transition> {
    Ok(policy(from)?.transition(&policy(to)?))
}

/// The writes for a spec's rules, in a new cgroup. Everything is denied to begin with; the rules apply in order, a
/// later one over an earlier; the default devices come last, so no rule takes them away.
///
/// # Errors
/// When a rule has no access or one that does not exist, a type that is no device node's, or asks for an exception
/// from a wider rule, which the v1 controller cannot express.
pub fn rules_to_writes(rules: &[LinuxDeviceCgroup]) -> Result<Vec<DeviceWrite>> {
    Ok(policy(rules)?.writes())
}

pub(super) fn policy(rules: &[LinuxDeviceCgroup]) -> Result<Policy> {
    let mut policy = Policy { allow_all: false, exceptions: Vec::with_capacity(rules.len() + DEFAULT.len()) };
    for (at, rule) in rules.iter().enumerate() {
        let refuse = |why: String| Error::invalid(format!("linux.resources.devices[{at}]: {why}"));
        let text = rule.access().as_deref().unwrap_or("");
        if text.is_empty() {
            return Err(refuse(format!("device access at {at} field cannot be empty; give some of r, w and m")));
        }
        let access = Access::parse(text)
            .ok_or_else(|| refuse(format!("access {text:?} is not made of r (read), w (write) and m (mknod)")))?;
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => {
                policy.reset(rule.allow());
                continue;
            }
            Some(LinuxDeviceType::B) => 'b',
            Some(LinuxDeviceType::C) => 'c',
            Some(other) => {
                return Err(refuse(format!("invalid cgroup device type {:?}; it is a, b or c", other.as_str())));
            }
        };
        let number = |n: Option<i64>, what: &str| match n {
            None | Some(-1) => Ok(None),
            // The v1 controller reads the highest number of 32 bits as every number.
            Some(n) => u32::try_from(n)
                .ok()
                .filter(|n| *n != u32::MAX)
                .map(Some)
                .ok_or_else(|| refuse(format!("{what} {n} is no device number (-1 is every number)"))),
        };
        let devices = Devices::new(kind, number(rule.major(), "major")?, number(rule.minor(), "minor")?);
        policy.apply(rule.allow(), devices, access).map_err(|wider| {
            refuse(format!(
                "{devices} {access} would be an exception from the rule for {wider}, which cgroup v1 cannot express; name the devices one by one"
            ))
        })?;
    }
    for (devices, access) in DEFAULT {
        policy.apply(true, devices, access).map_err(|wider| {
            Error::invalid(format!(
                "linux.resources.devices: a rule denies {wider}, but {devices} {access} is allowed to every container; cgroup v1 cannot express an exception from an exception, so deny all (type a) and allow what is needed"
            ))
        })?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(rules: &str) -> Result<Vec<String>> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        Ok(rules_to_writes(&rules)?.iter().map(ToString::to_string).collect())
    }

    const USUAL: [&str; 11] = [
        "deny a",
        "allow c *:* m",
        "allow b *:* m",
        "allow c 1:3 rwm",
        "allow c 1:8 rwm",
        "allow c 1:7 rwm",
        "allow c 5:0 rwm",
        "allow c 1:5 rwm",
        "allow c 1:9 rwm",
        "allow c 136:* rwm",
        "allow c 5:2 rwm",
    ];

    #[test]
    fn everything_but_the_default_devices_is_denied() {
        assert_eq!(writes("[]").unwrap(), USUAL);
        assert_eq!(writes(r#"[{"allow": false, "access": "rwm"}]"#).unwrap(), USUAL);
    }

    #[test]
    fn default_devices_listed_again_and_rules_that_another_covers_cost_no_write() {
        let again = r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 136, "minor": 4, "access": "rw"}]"#;
        assert_eq!(writes(again).unwrap().len(), USUAL.len());
    }

    #[test]
    fn allowing_all_is_one_write() {
        assert_eq!(
            writes(r#"[{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]"#).unwrap(),
            ["allow a"]
        );
    }

    #[test]
    fn later_rules_add_to_and_take_from_earlier_ones() {
        let rules = r#"[{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "wm"},
            {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"},
            {"allow": true, "type": "c", "major": 10, "minor": -1, "access": "r"},
            {"allow": false, "type": "c", "major": 10, "access": "r"}]"#;
        let writes = writes(rules).unwrap();
        assert_eq!(writes[1], "allow b 8:0 rm");
        assert_eq!(writes.len(), USUAL.len() + 1);
        assert!(!writes.iter().any(|w| w.contains("10:*")));
    }

    #[test]
    fn a_later_rule_holds_over_the_narrower_ones_before_it() {
        let rules = r#"[{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": false, "type": "c", "major": 10, "access": "w"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "r"}]"#;
        let writes = writes(rules).unwrap();
        assert_eq!(writes[1], "allow c 10:200 r");
        assert_eq!(writes.len(), USUAL.len() + 1);
    }

    #[test]
    fn a_deny_after_allow_all_is_an_exception_from_it() {
        let rules = r#"[{"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"}]"#;
        assert_eq!(writes(rules).unwrap(), ["allow a", "deny b 8:0 w"]);
    }

    fn change(from: &str, to: &str) -> (Vec<String>, bool) {
        let parse = |rules: &str| -> Vec<LinuxDeviceCgroup> { serde_json::from_str(rules).unwrap() };
        let change = transition(&parse(from), &parse(to)).unwrap();
        (change.writes.iter().map(ToString::to_string).collect(), change.at_rest)
    }

    #[test]
    fn a_change_of_rules_adds_before_it_takes_and_writes_nothing_else() {
        let wide = r#"[{"allow": true, "type": "c", "major": 10, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"}]"#;
        let narrow = r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 5, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw"}]"#;
        assert_eq!(
            change(wide, narrow),
            (vec!["allow c 10:5 rw".into(), "allow b 8:0 w".into(), "deny c 10:* rw".into()], false)
        );
        assert_eq!(change(wide, wide), (vec![], false));
        // The default devices again, and what they cover, is no change.
        let again = r#"[{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 136, "minor": 4, "access": "rw"}]"#;
        assert_eq!(change("[]", again), (vec![], false));
    }

    #[test]
    fn between_rules_that_allow_all_denials_change_one_by_one() {
        let all = |more: &str| format!(r#"[{{"allow": true, "access": "rwm"}}{more}]"#);
        let sda = r#",{"allow": false, "type": "b", "major": 8, "minor": 0, "access": "rw"}"#;
        let sdb = r#",{"allow": false, "type": "b", "major": 8, "minor": 16, "access": "rw"}"#;
        assert_eq!(change(&all(sda), &all(sdb)), (vec!["deny b 8:16 rw".into(), "allow b 8:0 rw".into()], false));
    }

    #[test]
    fn a_change_of_the_default_is_a_reset_for_which_processes_stand_still() {
        let (writes, at_rest) = change(r#"[{"allow": true, "access": "rwm"}]"#, "[]");
        assert_eq!((writes.as_slice(), at_rest), (USUAL.map(str::to_owned).as_slice(), true));
        assert_eq!(change("[]", r#"[{"allow": true, "access": "rwm"}]"#), (vec!["allow a".into()], true));
    }

    #[test]
    fn what_v1_cannot_express_or_is_malformed_is_refused_by_its_place() {
        for (rules, words) in [
            (
                r#"[{"allow": true, "type": "c", "access": "rw"}, {"allow": false, "type": "c", "major": 4, "access": "r"}]"#,
                "devices[1]: c 4:* r would be an exception from the rule for c *:*",
            ),
            (
                r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "access": "rw"}]"#,
                "a rule denies c *:*",
            ),
            (r#"[{"allow": true, "type": "c"}]"#, "device access at 0 field cannot be empty"),
            (r#"[{"allow": true, "type": "c", "access": "rx"}]"#, "is not made of"),
            (r#"[{"allow": true, "type": "p", "access": "r"}]"#, "invalid cgroup device type \"p\""),
            (r#"[{"allow": true, "type": "c", "major": -2, "access": "r"}]"#, "major -2"),
            (r#"[{"allow": true, "type": "c", "minor": 4294967295, "access": "r"}]"#, "minor 4294967295 is no"),
        ] {
            let error = writes(rules).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
