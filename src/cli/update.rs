//! `update`: new limits for a container that runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::arguments::Arguments;
use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command};
use crate::container::{self, Changes};
use crate::{Context, Error, Result};

pub(super) static COMMAND: Command = Command {
    name: "update",
    about: "Change the limits of a container.",
    details: "What is not given stays as it is. Either all changes are made or none: when the kernel refuses one, the \
              others are taken back. SIZE is a number of bytes, also as 512k, 64m or 2g; -1 is no limit.",
    usage: "ID",
    flags: &[
        &RESOURCES,
        &BLKIO_WEIGHT,
        &CPU_PERIOD,
        &CPU_QUOTA,
        &CPU_BURST,
        &CPU_SHARE,
        &CPU_SHARES,
        &CPU_RT_PERIOD,
        &CPU_RT_RUNTIME,
        &CPUSET_CPUS,
        &CPUSET_MEMS,
        &CPU_IDLE,
        &KERNEL_MEMORY,
        &KERNEL_MEMORY_TCP,
        &MEMORY,
        &MEMORY_RESERVATION,
        &MEMORY_SWAP,
        &PIDS_LIMIT,
        &L3_CACHE_SCHEMA,
        &MEM_BW_SCHEMA,
    ],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

static RESOURCES: Flag = Flag::new(
    "resources",
    Value::File("FILE"),
    "Read what to change from a JSON file that looks like config.json's linux.resources, or from stdin for -. All flags \
     below are ignored then, but for the schemas.",
)
.letter('r');
static BLKIO_WEIGHT: Flag = Flag::new("blkio-weight", Value::Text("N"), "The share of block I/O, from 10 to 1000.");
static CPU_PERIOD: Flag = Flag::new("cpu-period", Value::Text("MICROSECONDS"), "The period that --cpu-quota is for.");
static CPU_QUOTA: Flag =
    Flag::new("cpu-quota", Value::Text("MICROSECONDS"), "The processor time in a period; -1 is no limit.");
static CPU_BURST: Flag = Flag::new(
    "cpu-burst",
    Value::Text("MICROSECONDS"),
    "How much of the quota may be saved from one period for another.",
);
static CPU_SHARE: Flag =
    Flag::new("cpu-share", Value::Text("N"), "The share of processor time against other containers, from 2 to 262144.");
static CPU_SHARES: Flag = Flag::new("cpu-shares", Value::Text("N"), "The same as --cpu-share.").hide();
static CPU_RT_PERIOD: Flag =
    Flag::new("cpu-rt-period", Value::Text("MICROSECONDS"), "The period that --cpu-rt-runtime is for.");
static CPU_RT_RUNTIME: Flag =
    Flag::new("cpu-rt-runtime", Value::Text("MICROSECONDS"), "The time of realtime processes in a period.");
static CPUSET_CPUS: Flag = Flag::new("cpuset-cpus", Value::Text("LIST"), "The processors to run on, such as 0-2,7.");
static CPUSET_MEMS: Flag = Flag::new("cpuset-mems", Value::Text("LIST"), "The memory nodes to use.");
static CPU_IDLE: Flag =
    Flag::new("cpu-idle", Value::Text("0|1"), "With 1, run only when nothing else does (SCHED_IDLE).");
static KERNEL_MEMORY: Flag = Flag::new("kernel-memory", Value::Text("SIZE"), "Ignored, as by runc.").hide();
static KERNEL_MEMORY_TCP: Flag = Flag::new("kernel-memory-tcp", Value::Text("SIZE"), "Ignored, as by runc.").hide();
static MEMORY: Flag = Flag::new("memory", Value::Text("SIZE"), "The limit of memory.");
static MEMORY_RESERVATION: Flag =
    Flag::new("memory-reservation", Value::Text("SIZE"), "The limit of memory when the host is short of it.");
static MEMORY_SWAP: Flag = Flag::new("memory-swap", Value::Text("SIZE"), "The limit of memory and swap together.");
static PIDS_LIMIT: Flag =
    Flag::new("pids-limit", Value::Text("N"), "The number of processes and threads; -1 is no limit.");

static L3_CACHE_SCHEMA: Flag = Flag::new(
    "l3-cache-schema",
    Value::Text("SCHEMA"),
    "The part of the processors' caches to use (Intel RDT), such as L3:0=ff;1=f0.",
);
static MEM_BW_SCHEMA: Flag = Flag::new(
    "mem-bw-schema",
    Value::Text("SCHEMA"),
    "The memory bandwidth to use (Intel RDT), such as MB:0=50;1=100.",
);

/// How a flag's text becomes a number or a list.
#[derive(Clone, Copy)]
enum Kind {
    Unsigned,
    Signed,
    Size,
    List,
}

/// Each flag, and the member of linux.resources that it is about.
static MEMBERS: [(&Flag, Kind, &str, &str); 15] = [
    (&BLKIO_WEIGHT, Kind::Unsigned, "blockIO", "weight"),
    (&CPU_PERIOD, Kind::Unsigned, "cpu", "period"),
    (&CPU_QUOTA, Kind::Signed, "cpu", "quota"),
    (&CPU_BURST, Kind::Unsigned, "cpu", "burst"),
    (&CPU_SHARES, Kind::Unsigned, "cpu", "shares"),
    (&CPU_SHARE, Kind::Unsigned, "cpu", "shares"),
    (&CPU_RT_PERIOD, Kind::Unsigned, "cpu", "realtimePeriod"),
    (&CPU_RT_RUNTIME, Kind::Signed, "cpu", "realtimeRuntime"),
    (&CPUSET_CPUS, Kind::List, "cpu", "cpus"),
    (&CPUSET_MEMS, Kind::List, "cpu", "mems"),
    (&CPU_IDLE, Kind::Signed, "cpu", "idle"),
    (&MEMORY, Kind::Size, "memory", "limit"),
    (&MEMORY_RESERVATION, Kind::Size, "memory", "reservation"),
    (&MEMORY_SWAP, Kind::Size, "memory", "swap"),
    (&PIDS_LIMIT, Kind::Signed, "pids", "limit"),
];

/// The most that a document of resources may have.
const MOST_BYTES: u64 = 16 << 20;

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let id = call.arguments.id()?;
    let (resources, source) = match call.arguments.last(&RESOURCES) {
        Some(path) => (read(Path::new(path))?, Some(PathBuf::from(path))),
        None => (from_flags(call.arguments)?, None),
    };
    let changes = Changes {
        resources,
        source,
        l3_cache_schema: call.arguments.text(&L3_CACHE_SCHEMA)?,
        mem_bw_schema: call.arguments.text(&MEM_BW_SCHEMA)?,
    };
    container::update(call.globals, &id, &changes)?;
    Ok(0)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)),
    };
    read.context(|| format!("--resources {}", path.display()))?;
    if text.len() as u64 > MOST_BYTES {
        let path = path.display();
        return Err(Error::invalid(format!("--resources {path}: is larger than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(text)
}

fn from_flags(arguments: &Arguments) -> Result<String, Failure> {
    for flag in [&KERNEL_MEMORY, &KERNEL_MEMORY_TCP] {
        if arguments.last(flag).is_some() {
            log::warn!("Setting --{} is ignored and will be removed", flag.long);
        }
    }
    let mut resources = Map::new();
    for (flag, kind, family, member) in MEMBERS {
        let Some(text) = arguments.text(flag)? else { continue };
        let value = parse(kind, &text).ok_or_else(|| {
            let wanted = match kind {
                Kind::Unsigned => "a number from 0 on is needed",
                Kind::Signed => "a number is needed",
                Kind::Size => "a number of bytes such as 64m is needed, or -1 for no limit",
                Kind::List => "a list is needed",
            };
            Failure::new(format!("invalid value for {}: {text:?}: {wanted}", flag.long))
        })?;
        let members = resources.entry(family).or_insert_with(|| Json::Object(Map::new()));
        members[member] = value;
    }
    Ok(Json::Object(resources).to_string())
}

fn parse(kind: Kind, text: &str) -> Option<Json> {
    Some(match kind {
        Kind::Unsigned => text.parse::<u64>().ok()?.into(),
        Kind::Signed => text.parse::<i64>().ok()?.into(),
        Kind::Size => parse_size(text)?.into(),
        Kind::List => text.into(),
    })
}

/// Bytes as Docker writes them: a number, also with a fraction, and k, m, g, t or p, also as kb or kib, in powers of 1024.
fn parse_size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == unit)?;
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_shl(10 * power as u32).filter(|bytes| bytes >> (10 * power) == whole && *bytes >= 0);
    }
    let bytes = number.parse::<f64>().ok()? * (1u64 << (10 * power)) as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32KiB", 32 << 10),
            ("64 MB", 64 << 20),
            ("1.5g", 3 << 29),
            ("2p", 2 << 50),
            ("-1", -1),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for wrong in ["", "-2", "m", "5x", "1.2.3k", "9000000000000p", "5 000", "ib"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flags_become_the_document_that_they_stand_for() {
        let given = |flag: &'static Flag, text: &str| (flag.long, super::super::arguments::Given::Value(text.into()));
        let arguments = Arguments {
            given: vec![
                given(&MEMORY, "64m"),
                given(&CPU_QUOTA, "-1"),
                given(&CPUSET_CPUS, "0-1"),
                given(&PIDS_LIMIT, "0"),
                given(&KERNEL_MEMORY, "5"),
                given(&BLKIO_WEIGHT, ""),
            ],
            words: Vec::new(),
        };
        assert_eq!(
            from_flags(&arguments).unwrap(),
            r#"{"cpu":{"cpus":"0-1","quota":-1},"memory":{"limit":67108864},"pids":{"limit":0}}"#
        );
    }
}
