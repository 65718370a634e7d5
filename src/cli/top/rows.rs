//! From two looks at the counters to what is shown of each container.

use std::cmp::Ordering;

use serde::Serialize;

use crate::cgroup::Limit;
use crate::container::{Traffic, Used};

/// A container, as the JSON form has it too. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// Percent of one processor.
    pub cpu_percent: Option<f64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes; "max" where there is no limit.
    pub memory_limit: Option<Amount>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// What came in.
    pub rx: Option<Flow>,
    /// What went out.
    pub tx: Option<Flow>,
}

/// A limit as JSON has it: a number, or "max".
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Bytes(u64),
    Word(&'static str),
}

/// Packets and bytes, in all and per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub(super) struct Flow {
    pub packets: u64,
    pub bytes: u64,
    pub packets_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
}

/// What each container that is there now has used since the look before.
pub(super) fn rows(before: &[Used], now: &[Used]) -> Vec<Row> {
    // One that was deleted and made anew meanwhile has another first process.
    let same = |used: &Used| before.iter().find(|other| other.id == used.id && other.pid == used.pid);
    now.iter().map(|used| row(same(used), used)).collect()
}

fn row(before: Option<&Used>, now: &Used) -> Row {
    let seconds = before.map(|before| now.at.duration_since(before.at).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    // Counters of interfaces and processes that are gone are missing in the sum.
    let rate = |was: Option<u64>, is: u64| Some(is.saturating_sub(was?) as f64 / seconds?);
    let nanoseconds = now.cgroups.processor.and_then(|is| rate(before.and_then(|used| used.cgroups.processor), is));
    let flow = |packets: fn(&Traffic) -> u64, bytes: fn(&Traffic) -> u64| {
        let was = before.and_then(|used| used.traffic);
        now.traffic.map(|is| Flow {
            packets: packets(&is),
            bytes: bytes(&is),
            packets_per_second: rate(was.as_ref().map(packets), packets(&is)),
            bytes_per_second: rate(was.as_ref().map(bytes), bytes(&is)),
        })
    };
    Row {
        id: now.id.clone(),
        pid: now.pid,
        cpu_percent: nanoseconds.map(|time| time / 1e7),
        memory: now.cgroups.memory,
        memory_limit: now.cgroups.memory_limit.map(|limit| match limit {
            Limit::Of(bytes) => Amount::Bytes(bytes),
            Limit::None => Amount::Word("max"),
        }),
        pids: now.cgroups.pids,
        rx: flow(|traffic| traffic.rx_packets, |traffic| traffic.rx_bytes),
        tx: flow(|traffic| traffic.tx_packets, |traffic| traffic.tx_bytes),
    }
}

/// What the containers are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Sort {
    Cpu,
    Memory,
    Pids,
    Rx,
    Tx,
    Name,
}

impl Sort {
    /// The words of `--sort`, the first of which is meant when none is given. Their first letters are the keys.
    pub const WORDS: [&'static str; 6] = ["cpu", "mem", "pids", "rx", "tx", "name"];
    const ALL: [Self; 6] = [Self::Cpu, Self::Memory, Self::Pids, Self::Rx, Self::Tx, Self::Name];

    /// What a word means.
    pub fn of(word: &str) -> Self {
        Self::ALL.into_iter().zip(Self::WORDS).find(|(_, known)| *known == word).map_or(Self::Cpu, |(sort, _)| sort)
    }

    /// What a key means.
    pub fn of_key(key: u8) -> Option<Self> {
        Self::ALL.into_iter().zip(Self::WORDS).find(|(_, word)| word.as_bytes()[0] == key).map(|(sort, _)| sort)
    }

    /// Sorts, the greatest first; those of whom nothing is known last, and like ones by name.
    pub fn order(self, rows: &mut [Row]) {
        let flow = |flow: Option<Flow>| flow.map(|flow| flow.bytes_per_second.unwrap_or(-1.0));
        let value = |row: &Row| match self {
            Self::Cpu => row.cpu_percent,
            Self::Memory => row.memory.map(|bytes| bytes as f64),
            Self::Pids => row.pids.map(|count| count as f64),
            Self::Rx => flow(row.rx),
            Self::Tx => flow(row.tx),
            Self::Name => None,
        };
        rows.sort_by(|a, b| {
            let order = match (value(a), value(b)) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            };
            order.then_with(|| a.id.cmp(&b.id))
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cgroup::Usage;

    pub(in super::super) fn used(id: &str, at: Instant, processor: u64, bytes: u64) -> Used {
        let cgroups =
            Usage { processor: Some(processor), memory: Some(3 << 20), memory_limit: Some(Limit::None), pids: Some(2) };
        let traffic = Traffic { rx_packets: bytes / 100, rx_bytes: bytes, tx_packets: 0, tx_bytes: 0 };
        Used { id: id.into(), pid: 7, at, cgroups, traffic: Some(traffic) }
    }

    #[test]
    fn rates_are_over_the_time_between_two_looks() {
        let start = Instant::now();
        let before = [used("a", start, 0, 1000)];
        let later = start + Duration::from_secs(2);
        let found = rows(&before, &[used("a", later, 1_000_000_000, 5000), used("new", later, 9, 9)]);
        assert_eq!(found[0].cpu_percent, Some(50.0));
        let rx = found[0].rx.unwrap();
        assert_eq!((rx.bytes, rx.bytes_per_second, rx.packets_per_second), (5000, Some(2000.0), Some(20.0)));
        assert_eq!((found[1].cpu_percent, found[1].rx.unwrap().bytes_per_second), (None, None));
    }

    #[test]
    fn a_container_made_anew_and_counters_that_went_back_give_no_nonsense() {
        let (start, mut other) = (Instant::now(), used("a", Instant::now(), 5_000_000_000, 5000));
        other.pid = 8;
        let later = start + Duration::from_secs(1);
        assert_eq!(rows(&[other], &[used("a", later, 1, 1)])[0].cpu_percent, None);
        let back = rows(&[used("a", start, 5, 5000)], &[used("a", later, 5, 100)]);
        assert_eq!(back[0].rx.unwrap().bytes_per_second, Some(0.0));
    }

    #[test]
    fn the_greatest_is_first_and_the_unknown_last() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let before = ["a", "b", "c"].map(|id| used(id, start, 0, 0));
        let mut now = vec![used("a", later, 1, 500), used("b", later, 3, 100), used("c", later, 2, 900)];
        now[2].cgroups = Usage::default();
        let mut found = rows(&before, &now);
        let mut by = |word: &str| {
            Sort::of(word).order(&mut found);
            found.iter().map(|row| row.id.as_str()).collect::<String>()
        };
        assert_eq!([by("cpu"), by("rx"), by("name"), by("pids"), by("mem")], ["bac", "cab", "abc", "abc", "abc"]);
        assert_eq!(Sort::of_key(b'm'), Some(Sort::Memory));
        assert_eq!(Sort::of_key(b'x'), None);
    }
}
