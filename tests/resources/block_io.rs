//! linux.resources.blockIO

use std::fs;

use super::common::*;
use super::disk::{Disk, Way};
use super::host::host;
use super::row::{Row, update};

macro_rules! disk {
    () => {
        match Disk::new() {
            Some(disk) => disk,
            None => skip!("this machine has no loop devices"),
        }
    };
}

/// BFQ's files are there once it is.
fn load_bfq() {
    host(&["modprobe", "bfq"]);
}

/// BFQ's file has the spec's scale, io.weight another: 1 + (weight - 10) * 9999 / 990.
fn block_io_weight() -> Row {
    load_bfq();
    let weight = |n: u16| json!({"blockIO": {"weight": n}});
    Row::new("linux.resources.blockIO.weight", weight(500), weight(10))
        .v1("blkio", "blkio.weight", 500, 10)
        .v1("blkio", "blkio.bfq.weight", 500, 10)
        .v2("io.bfq.weight", "default 500", "default 10")
}

/// cgroup2 without BFQ.
fn io_weight() -> Row {
    let weight = |n: u16| json!({"blockIO": {"weight": n}});
    Row::new("linux.resources.blockIO.weight", weight(500), weight(10)).v2("io.weight", "default 4950", "default 1")
}

fn weight() -> Row {
    let bfq = block_io_weight();
    match outside::is_v2() && !has_bfq() {
        true => io_weight(),
        false => bfq,
    }
}

/// Whether a cgroup2 has BFQ's file.
fn has_bfq() -> bool {
    let c = Container::idle().up();
    c.cgroup("").join("io.bfq.weight").exists()
}

#[test]
fn block_io_weight_is_set() {
    weight().is_set();
}

#[test]
fn block_io_weight_is_updated() {
    weight().is_updated();
}

#[test]
fn block_io_weight_is_felt() {
    skip!("a loop device is as fast as memory, so that nobody waits for his share of it");
}

/// The weight of one device, which the kernel takes where its scheduler knows weights.
fn device_weight(disk: &Disk) -> Row {
    load_bfq();
    let weight =
        |n: u16| json!({"blockIO": {"weightDevice": [{"major": disk.major, "minor": disk.minor, "weight": n}]}});
    let shown = |n: u16| format!("{} {n}", disk.number());
    Row::new("linux.resources.blockIO.weightDevice", weight(500), weight(20))
        .v1("blkio", "blkio.weight_device", shown(500), shown(20))
        .v1("blkio", "blkio.bfq.weight_device", shown(500), shown(20))
        .v2("io.bfq.weight", shown(500), shown(20))
}

fn schedule_by_bfq(disk: &Disk) -> bool {
    load_bfq();
    fs::write(disk.queue("scheduler"), "bfq").is_ok()
}

#[test]
fn block_io_device_weight_is_set() {
    let disk = disk!();
    if !schedule_by_bfq(&disk) {
        skip!("this kernel has no BFQ, whose weights a device may have");
    }
    device_weight(&disk).is_set();
}

#[test]
fn block_io_device_weight_is_updated() {
    let disk = disk!();
    if !schedule_by_bfq(&disk) {
        skip!("this kernel has no BFQ, whose weights a device may have");
    }
    device_weight(&disk).is_updated();
}

#[test]
fn block_io_device_weight_is_felt() {
    skip!("a loop device is as fast as memory, so that nobody waits for his share of it");
}

/// CFQ's, which went with Linux 5.0.
fn block_io_leaf_weight() -> Row {
    let weight = |n: u16| json!({"blockIO": {"leafWeight": n}});
    Row::new("linux.resources.blockIO.leafWeight", weight(500), weight(10)).v1("blkio", "blkio.leaf_weight", 500, 10)
}

#[test]
fn block_io_leaf_weight_is_set() {
    block_io_leaf_weight().is_set();
}

#[test]
fn block_io_leaf_weight_is_updated() {
    block_io_leaf_weight().is_updated();
}

#[test]
fn block_io_leaf_weight_is_felt() {
    skip!("CFQ, which had it, went with Linux 5.0");
}

/// One of the four throttles.
struct Throttle {
    property: &'static str,
    field: &'static str,
    v1: &'static str,
    key: &'static str,
    way: Way,
}

const READ_BPS: Throttle = Throttle {
    property: "linux.resources.blockIO.throttleReadBpsDevice",
    field: "throttleReadBpsDevice",
    v1: "blkio.throttle.read_bps_device",
    key: "rbps",
    way: Way::Read,
};
const WRITE_BPS: Throttle = Throttle {
    property: "linux.resources.blockIO.throttleWriteBpsDevice",
    field: "throttleWriteBpsDevice",
    v1: "blkio.throttle.write_bps_device",
    key: "wbps",
    way: Way::Write,
};
const READ_IOPS: Throttle = Throttle {
    property: "linux.resources.blockIO.throttleReadIOPSDevice",
    field: "throttleReadIOPSDevice",
    v1: "blkio.throttle.read_iops_device",
    key: "riops",
    way: Way::Read,
};
const WRITE_IOPS: Throttle = Throttle {
    property: "linux.resources.blockIO.throttleWriteIOPSDevice",
    field: "throttleWriteIOPSDevice",
    v1: "blkio.throttle.write_iops_device",
    key: "wiops",
    way: Way::Write,
};

impl Throttle {
    fn at(&self, disk: &Disk, rate: u64) -> Value {
        json!({"blockIO": {self.field: [{"major": disk.major, "minor": disk.minor, "rate": rate}]}})
    }

    fn row(&self, disk: &Disk) -> Row {
        let line = |rate: u64| {
            let of = |key: &str| if key == self.key { rate.to_string() } else { "max".to_owned() };
            let values = ["rbps", "wbps", "riops", "wiops"].map(|key| format!("{key}={}", of(key)));
            format!("{} {}", disk.number(), values.join(" "))
        };
        let shown = |rate: u64| format!("{} {rate}", disk.number());
        Row::new(self.property, self.at(disk, 1_048_576), self.at(disk, 2_097_152))
            .v1("blkio", self.v1, shown(1_048_576), shown(2_097_152))
            .v2("io.max", line(1_048_576), line(2_097_152))
    }

    /// A rate at which it takes two seconds, and none.
    #[track_caller]
    fn is_felt(&self, disk: &Disk) {
        let (rate, block, count) = if self.key.ends_with("bps") { (1 << 20, "64k", 32) } else { (20, "4k", 40) };
        let row =
            Row::new(self.property, self.at(disk, rate), json!({})).v1("blkio", self.v1, "", "").v2("io.max", "", "");
        let Some(c) = row.create(disk.container(&json!({}))) else { return };
        c.start();
        let slow = disk.seconds(&c, self.way, block, count);
        assert!(slow > 1.2, "{}: what should take 2 s took {slow} s", self.property);
        // The spec's 0 is no limit.
        update(&c, &self.at(disk, 0)).ok();
        let fast = disk.seconds(&c, self.way, block, count);
        assert!(fast < slow / 2.0, "{}: without a limit {fast} s, with it {slow} s", self.property);
    }
}

#[test]
fn block_io_read_bps_is_set() {
    READ_BPS.row(&disk!()).is_set();
}

#[test]
fn block_io_read_bps_is_updated() {
    READ_BPS.row(&disk!()).is_updated();
}

#[test]
fn block_io_read_bps_is_felt() {
    READ_BPS.is_felt(&disk!());
}

#[test]
fn block_io_write_bps_is_set() {
    WRITE_BPS.row(&disk!()).is_set();
}

#[test]
fn block_io_write_bps_is_updated() {
    WRITE_BPS.row(&disk!()).is_updated();
}

#[test]
fn block_io_write_bps_is_felt() {
    WRITE_BPS.is_felt(&disk!());
}

#[test]
fn block_io_read_iops_is_set() {
    READ_IOPS.row(&disk!()).is_set();
}

#[test]
fn block_io_read_iops_is_updated() {
    READ_IOPS.row(&disk!()).is_updated();
}

#[test]
fn block_io_read_iops_is_felt() {
    READ_IOPS.is_felt(&disk!());
}

#[test]
fn block_io_write_iops_is_set() {
    WRITE_IOPS.row(&disk!()).is_set();
}

#[test]
fn block_io_write_iops_is_updated() {
    WRITE_IOPS.row(&disk!()).is_updated();
}

#[test]
fn block_io_write_iops_is_felt() {
    WRITE_IOPS.is_felt(&disk!());
}
