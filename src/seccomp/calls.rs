//! What becomes of each call of each architecture.

use super::arch::Arch;
use super::condition::{self, Conditions, Test};
use super::names::{self, Call, Multiplexed};
use super::profile::{Profile, RET_ENOSYS, Rule};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No rule names it.
    Default,
    /// Always this word.
    Always(u32),
    /// It depends on its arguments: the choices at this place.
    Depends(u16),
}

/// One choice by arguments, and the word where they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) when: Conditions,
    pub(super) action: u32,
}

/// The calls of one architecture.
pub(super) struct Calls {
    pub(super) arch: Arch,
    /// For calls that no rule names.
    pub(super) default: u32,
    /// For calls newer than any that a rule names.
    newer: u32,
    /// By code, as far as the profile knows calls.
    verdicts: Vec<Verdict>,
    /// The choices for each call that depends on its arguments, the first to hold first.
    choices: Vec<Vec<Choice>>,
    /// The greatest code of a call that a rule names, private ones aside.
    newest: Option<u16>,
}

impl Calls {
    /// The calls of all architectures of a profile.
    pub(super) fn of(profile: &Profile) -> Vec<Self> {
        let mut all: Vec<_> = profile.archs.iter().map(|arch| Self::new(*arch, profile)).collect();
        for rule in &profile.rules {
            for call in rule.names.iter().filter_map(|name| names::find(name)) {
                for calls in &mut all {
                    calls.add(call, rule);
                }
            }
        }
        for calls in &mut all {
            calls.put_in_order();
        }
        all
    }

    fn new(arch: Arch, profile: &Profile) -> Self {
        let verdicts = vec![Verdict::Default; super::arch::CODES.into()];
        let (default, newer) = (profile.default, profile.newer);
        Self { arch, default, newer, verdicts, choices: Vec::new(), newest: None }
    }

    /// Adds one rule for one call, in its direct and in its multiplexed form, as far as the architecture has them.
    fn add(&mut self, call: Call, rule: &Rule) {
        if let Some(code) = self.arch.code(call) {
            self.knows(code);
            self.put(code, None, rule);
        }
        if let Some((carrier, sub)) = names::multiplexed(call)
            && let Some(code) = self.arch.code(carrier)
        {
            self.knows(code);
            self.put(code, Some(sub_call(sub)), rule);
        }
    }

    /// Notes that the profile's author knew a call.
    fn knows(&mut self, code: u16) {
        if self.arch.private_codes().is_none_or(|private| !private.contains(&code)) {
            self.newest = self.newest.max(Some(code));
        }
    }

    /// Adds a rule to a code, with a test of argument 0 in place of the rule's own where the call is multiplexed.
    fn put(&mut self, code: u16, first_argument: Option<Test>, rule: &Rule) {
        if rule.action == self.default {
            return;
        }
        let always = [Conditions::default()];
        let alternatives = if rule.alternatives.is_empty() { &always } else { rule.alternatives.as_slice() };
        for when in alternatives {
            let mut when = *when;
            when[0] = first_argument.or(when[0]);
            let verdict = self.verdicts[usize::from(code)];
            self.verdicts[usize::from(code)] = match (condition::for_arch(&when, &self.arch), verdict) {
                // The first rule without conditions holds, whatever comes before or after it.
                (_, Verdict::Always(_)) => return,
                (None, _) => Verdict::Always(rule.action),
                (Some(when), verdict) => self.choose(verdict, Choice { when, action: rule.action }),
            };
        }
    }

    /// Adds a choice to a verdict.
    fn choose(&mut self, verdict: Verdict, choice: Choice) -> Verdict {
        match verdict {
            Verdict::Depends(at) => {
                self.choices[usize::from(at)].push(choice);
                verdict
            }
            _ => {
                self.choices.push(vec![choice]);
                Verdict::Depends(self.choices.len() as u16 - 1)
            }
        }
    }

    /// Sorts the choices of each call, and makes one of those that several calls share.
    fn put_in_order(&mut self) {
        for choices in &mut self.choices {
            choices.sort_by(|a, b| condition::precedence(&a.when, &b.when));
            choices.dedup();
        }
        for verdict in &mut self.verdicts {
            if let Verdict::Depends(at) = verdict {
                let same = self.choices.iter().position(|choices| *choices == self.choices[usize::from(*at)]);
                *at = same.map_or(*at, |same| same as u16);
            }
        }
    }

    /// The choices of a verdict that depends on arguments.
    pub(super) fn choices(&self, at: u16) -> &[Choice] {
        &self.choices[usize::from(at)]
    }

    /// Calls `each` with every number from which on the verdict is another, in order, beginning with the first.
    pub(super) fn ranges(&self, mut each: impl FnMut(u32, Verdict)) {
        let number = |code| self.arch.number(code);
        let (known, newer) = match self.newest {
            Some(newest) => (newest + 1, Verdict::Always(self.newer)),
            // Of an architecture of which the profile knows no call none is newer.
            None => (0, Verdict::Default),
        };
        if number(0) & !super::arch::X32_BIT != 0 {
            each(0, Verdict::Default);
        }
        for code in 0..known {
            let verdict = self.verdicts[usize::from(code)];
            let unknown = code == 0 && self.arch.enters_unknown_calls_as_0() && self.newer == RET_ENOSYS;
            each(number(code), if unknown { Verdict::Always(RET_ENOSYS) } else { verdict });
        }
        each(number(known), newer);
        for code in self.arch.private_codes().into_iter().flatten() {
            // Nothing from here on is new because its number is great.
            each(number(code), self.verdicts[usize::from(code)]);
        }
    }
}

/// The test by which a multiplexing call is known to carry another: the kernel looks at the low word for socketcall(2),
/// and at the low half of that for ipc(2), whose upper half is a version.
fn sub_call(sub: Multiplexed) -> Test {
    match sub {
        Multiplexed::Socketcall(sub) => Test::masked(u32::MAX.into(), sub.into()),
        Multiplexed::Ipc(sub) => Test::masked(u16::MAX.into(), sub.into()),
    }
}
