//! What a profile means, by definition: slow, and written without a look at the compiler.

use std::collections::HashMap;

use crate::interpreter::Call;
use crate::libseccomp::Libseccomp;
use crate::reference::{Arch, Condition, X86_64, alternatives, direct, word};

/// One way for a rule to match: all its conditions, and the word that it returns.
type Way = (Vec<Condition>, u32);

#[derive(Default)]
pub struct Model {
    default: u32,
    /// By what struct seccomp_data has: architecture and number.
    ways: HashMap<(u32, u32), Vec<Way>>,
}

impl Model {
    pub fn new(default: u32) -> Self {
        Self { default, ways: HashMap::new() }
    }

    /// Adds a rule for one name on one architecture.
    pub fn add(&mut self, library: &mut Libseccomp, arch: &Arch, name: &str, rule: &serde_json::Value) {
        let action = word(&rule["action"], &rule["errnoRet"]);
        if action == self.default {
            return;
        }
        let own = library.number(arch.token, name);
        let part = match own {
            -120..=-101 => Some(("socketcall", -100 - own)),
            -224..=-201 => Some(("ipc", -200 - own)),
            _ => None,
        };
        let own = if part.is_some() { direct(library, arch, name) } else { u32::try_from(own).ok() };
        if let Some(number) = own {
            let ways = alternatives(rule).into_iter().map(|way| (way, action));
            self.ways.entry((arch.audit, number)).or_default().extend(ways);
        }
        let Some((carrier, sub)) = part else { return };
        if let Ok(number) = u32::try_from(library.number(arch.token, carrier)) {
            let carried = alternatives(rule).into_iter().map(|mut way| {
                way.retain(|condition| condition.0 != 0);
                way.push((0, 4, sub as u64, 0));
                (way, action)
            });
            self.ways.entry((arch.audit, number)).or_default().extend(carried);
        }
    }

    /// Whether some rule may match the call of that number.
    pub fn knows(&self, arch: u32, number: u32) -> bool {
        self.ways.contains_key(&(arch, number))
    }

    pub fn ways(&self, call: &Call) -> &[Way] {
        self.ways.get(&(call.arch, call.number)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The verdicts that the profile can mean for a call: several only where rules with conditions contradict each other.
    pub fn verdicts(&self, call: &Call) -> Vec<u32> {
        let wide =
            call.arch & 0x8000_0000 != 0 && !(call.arch == X86_64 && call.number & crate::reference::X32_BIT != 0);
        let ways = self.ways(call);
        if let Some((_, action)) = ways.iter().find(|(way, _)| way.iter().all(|condition| always(condition, wide))) {
            return vec![*action];
        }
        let matching = ways.iter().filter(|(way, _)| way.iter().all(|condition| holds(condition, call, wide)));
        let actions: Vec<_> = matching.map(|(_, action)| *action).collect();
        if actions.is_empty() { vec![self.default] } else { actions }
    }

    /// Whether libseccomp 2.5.4 is to be trusted with a call, see the head of tests/seccomp_against_libseccomp.rs.
    pub fn is_simple(&self, call: &Call) -> bool {
        let exact = |condition: &Condition| matches!(condition.1, 4 | 7);
        let ways = self.ways(call);
        ways.iter().filter(|(way, _)| !way.is_empty()).count() < 2 || ways.iter().all(|(way, _)| way.iter().all(exact))
    }
}

/// A masked comparison of no bit.
fn always(condition: &Condition, wide: bool) -> bool {
    condition.1 == 7 && width(condition.2, wide) == 0
}

fn holds(&(index, op, a, b): &Condition, call: &Call, wide: bool) -> bool {
    let (arg, a, b) = (width(call.args[index as usize], wide), width(a, wide), width(b, wide));
    match op {
        1 => arg != a,
        2 => arg < a,
        3 => arg <= a,
        4 => arg == a,
        5 => arg >= a,
        6 => arg > a,
        _ => arg & a == b & a,
    }
}

fn width(value: u64, wide: bool) -> u64 {
    if wide { value } else { value & u64::from(u32::MAX) }
}
