//! Leases of addresses: a file an address in the network's directory, which says whose it is. The lowest free address is
//! leased first. A lease whose container is gone is free: it is taken over when no other is left, or when it is asked for
//! by its address.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::definition::{Network, Range};
use super::link::Ifname;
use super::lock::Locked;
use super::sweep::{Swept, is_gone};
use crate::{Context, Error, Result};

/// The directory of the leases in that of a network.
pub(super) const LEASES: &str = "leases";

/// Whose a lease is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The container's id.
    pub container: String,
    /// The state root that the container is in: it is gone when its directory there is.
    pub root: PathBuf,
    /// The interface in the container.
    pub interface: Ifname,
}

/// An address that was leased.
#[derive(Debug)]
#[must_use]
pub struct Leased {
    /// The address with its range's prefix.
    pub address: IpNet,
    /// What was of containers that are gone and had to go for it: the caller takes its part out of the packet filter.
    pub swept: Swept,
}

impl Locked {
    /// What is wrong when no address of a range is free.
    pub(super) fn exhausted(&self, range: &Range) -> Result<Error> {
        let (first, last) = (range.first, range.last);
        let count = self.addresses()?.iter().filter(|address| (first..=last).contains(*address)).count();
        Ok(Error::new(format!(
            "network {}: no address is free in {first}-{last}, {count} are leased; delete containers, or make a network \
             with a larger --subnet or --ip-range",
            self.name
        )))
    }

    /// Leases this address. One that its owner has already is his.
    ///
    /// # Errors
    /// When it is no container's to have, or is leased to another container that exists.
    pub fn lease_this(&self, network: &Network, address: IpAddr, owner: &Owner) -> Result<Leased> {
        let what = || format!("network {}: address {address}", self.name);
        let leased = network.with_prefix(address)?;
        self.stage(&serde_json::to_vec(owner)?)?;
        let mut swept = Swept::default();
        for _ in 0..2 {
            if self.place(LEASES, &address.to_string(), false)? {
                return Ok(Leased { address: leased, swept });
            }
            match self.owner(address)? {
                Some(other) if other == *owner => {
                    self.unstage();
                    return Ok(Leased { address: leased, swept });
                }
                Some(other) if !is_gone(&other.root, &other.container) => {
                    self.unstage();
                    let Owner { container, interface, .. } = other;
                    return Err(Error::new(format!("taken by container {container}, {interface}")).context(what()));
                }
                _ => swept = self.sweep()?,
            }
        }
        Err(Error::new("somebody takes it again and again").context(what()))
    }

    /// The lowest address of a range that nobody has and that is none of `but`: it stays free as long as the lock is held.
    pub fn find_free(&self, range: &Range, but: &[IpAddr]) -> Result<Option<IpAddr>> {
        Ok(range.lowest_but(&self.addresses()?.into_iter().chain(but.iter().copied()).collect()))
    }

    /// Gives a lease back, if it is still this owner's.
    pub fn release(&self, address: IpAddr, owner: &Owner) -> Result<()> {
        match self.owner(address)? {
            Some(other) if other == *owner => self.unlink(&format!("{LEASES}/{address}")),
            _ => Ok(()),
        }
    }

    /// Whose an address is; None when it is free.
    pub fn owner(&self, address: IpAddr) -> Result<Option<Owner>> {
        let shown = || format!("read {}/{LEASES}/{address}", self.path.display());
        let how = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = match openat(self, format!("{LEASES}/{address}").as_str(), how, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => std::fs::File::from(other.context(shown)?),
        };
        let mut text = Vec::new();
        file.take(64 << 10).read_to_end(&mut text).context(shown)?;
        serde_json::from_slice(&text).context(shown).map(Some)
    }

    /// Every address that is leased.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let path = self.path.join(LEASES);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context(|| format!("open {}", path.display()))?,
        };
        let mut addresses = Vec::new();
        for entry in entries {
            let name = entry.context(|| format!("read {}", path.display()))?.file_name();
            addresses.extend(name.to_str().and_then(|name| name.parse::<IpAddr>().ok()));
        }
        Ok(addresses)
    }
}

impl Range {
    /// The lowest that is leased and none of those.
    pub(super) fn lowest_but(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        self.candidates().find(|address| !taken.contains(address))
    }

    /// The addresses that are leased, the lowest first.
    fn candidates(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let mut next = Some(self.first);
        let all = std::iter::from_fn(move || {
            let address = next.filter(|address| *address <= self.last)?;
            next = match address {
                IpAddr::V4(four) => u32::from(four).checked_add(1).map(|bits| IpAddr::V4(bits.into())),
                IpAddr::V6(six) => u128::from(six).checked_add(1).map(|bits| IpAddr::V6(bits.into())),
            };
            Some(address)
        });
        all.filter(|address| self.gateway.as_ref() != Some(address))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Child, Command, Stdio};

    use super::super::attachment::Attachment;
    use super::super::definition::NetworkName;
    use super::super::dirs::Dirs;
    use super::super::lock;
    use super::*;

    /// Directories of a test's own, with a network `n` of 10.1.0.0/24 and the containers that the test makes.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str, lease_range: &str) -> Self {
            let place = Self(std::env::temp_dir().join(format!("nfrun-lease-{test}-{}", std::process::id())));
            std::fs::create_dir_all(place.dirs().config).unwrap();
            let text = format!(
                r#"{{"name":"n","id":"0","created":"","subnets":[{{"subnet":"10.1.0.0/24","gateway":"10.1.0.1",
                "lease_range":{{{lease_range}}}}},{{"subnet":"fd00:1::/64","gateway":"fd00:1::1"}}]}}"#
            );
            std::fs::write(place.dirs().config.join("n.json"), text).unwrap();
            place
        }

        fn dirs(&self) -> Dirs {
            Dirs { config: self.0.join("config"), run: self.0.join("run/networks") }
        }

        fn open(&self) -> (Locked, Network) {
            lock::open(&self.dirs(), &name()).unwrap()
        }

        /// A container that exists.
        fn owner(&self, container: &str) -> Owner {
            let root = self.0.join("root");
            std::fs::create_dir_all(root.join(container)).unwrap();
            Owner { container: container.into(), root, interface: "eth0".parse().unwrap() }
        }

        fn delete(&self, container: &str) {
            std::fs::remove_dir(self.0.join("root").join(container)).unwrap();
        }

        fn lease(&self, container: &str) -> Result<String> {
            let (locked, network) = self.open();
            lease(&locked, &network, 0, &self.owner(container)).map(|leased| leased.address.to_string())
        }

        fn lease_this(&self, container: &str, address: &str) -> Result<Leased> {
            let (locked, network) = self.open();
            locked.lease_this(&network, address.parse().unwrap(), &self.owner(container))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// As a container is given one: what is free is looked for, and leased while the lock is held.
    fn lease(locked: &Locked, network: &Network, range: usize, owner: &Owner) -> Result<Leased> {
        let range = &network.ranges()[range];
        let free = match locked.find_free(range, &[])? {
            Some(free) => free,
            None => {
                let _ = locked.sweep()?;
                locked.find_free(range, &[])?.ok_or(locked.exhausted(range)?)?
            }
        };
        locked.lease_this(network, free, owner)
    }

    fn name() -> NetworkName {
        "n".parse().unwrap()
    }

    fn attachment(owner: &Owner) -> Attachment {
        let text = serde_json::json!({"network": "n", "container": owner.container, "root": owner.root,
            "interface": owner.interface, "addresses": ["10.1.0.2/24"], "publish": ["8080:80"]});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_lowest_free_address_is_leased_and_never_the_gateways() {
        let place = Place::new("lowest", "");
        assert_eq!(place.lease("a").unwrap(), "10.1.0.2/24");
        assert_eq!(place.lease("b").unwrap(), "10.1.0.3/24");
        let (locked, network) = place.open();
        let six = lease(&locked, &network, 1, &place.owner("a")).unwrap();
        assert_eq!(six.address.to_string(), "fd00:1::2/64");
        locked.release("10.1.0.2".parse().unwrap(), &place.owner("b")).unwrap();
        assert_eq!(locked.owner("10.1.0.2".parse().unwrap()).unwrap(), Some(place.owner("a")), "it is not b's to give");
        locked.release("10.1.0.2".parse().unwrap(), &place.owner("a")).unwrap();
        drop(locked);
        assert_eq!(place.lease("c").unwrap(), "10.1.0.2/24");
        assert_eq!(place.lease("d").unwrap(), "10.1.0.4/24");
    }

    #[test]
    fn a_range_that_is_exhausted_is_refused_with_how_many_are_leased() {
        let place = Place::new("exhausted", r#""start_ip":"10.1.0.10","end_ip":"10.1.0.29""#);
        let leased: Vec<_> = (0..20).map(|n| place.lease(&format!("c{n}")).unwrap()).collect();
        assert_eq!((leased[0].as_str(), leased[19].as_str()), ("10.1.0.10/24", "10.1.0.29/24"));
        let error = place.lease("late").unwrap_err().to_string();
        assert!(error.contains("network n: no address is free in 10.1.0.10-10.1.0.29, 20 are leased"), "{error}");
        assert!(place.lease_this("late", "10.1.0.9").is_ok(), "outside of what is leased by itself one may be named");
        place.delete("c7");
        assert_eq!(place.lease("late").unwrap(), "10.1.0.17/24", "what was of a container that is gone is free");
    }

    #[test]
    fn an_address_that_is_nobodys_to_have_is_refused_with_why() {
        let place = Place::new("named", "");
        for (address, why) in [
            ("10.2.0.1", "outside of the network's subnets, 10.1.0.0/24 and fd00:1::/64"),
            ("10.1.0.0", "it is the address of 10.1.0.0/24 itself"),
            ("10.1.0.255", "it is the broadcast address of 10.1.0.0/24"),
            ("10.1.0.1", "it is the gateway of 10.1.0.0/24"),
            ("fd00:1::", "it is the address of fd00:1::/64 itself"),
        ] {
            let error = place.lease_this("a", address).unwrap_err().to_string();
            assert_eq!(error, format!("network n: address {address}: {why}"));
        }
        assert_eq!(place.lease_this("a", "10.1.0.50").unwrap().address.to_string(), "10.1.0.50/24");
        assert!(place.lease_this("a", "10.1.0.50").is_ok(), "what one has one may have again");
        let error = place.lease_this("b", "10.1.0.50").unwrap_err().to_string();
        assert_eq!(error, "network n: address 10.1.0.50: taken by container a, eth0");
    }

    #[test]
    fn what_a_container_that_is_gone_had_is_taken_over_and_told() {
        let place = Place::new("gone", "");
        let owner = place.owner("a");
        let _ = place.lease_this("a", "10.1.0.9").unwrap();
        assert_eq!(place.open().0.attach(&attachment(&owner)).unwrap(), None);
        place.delete("a");
        let leased = place.lease_this("b", "10.1.0.9").unwrap();
        assert_eq!(
            leased.swept.attachments,
            [attachment(&owner)],
            "its ports are to be taken out of the packet filter"
        );
        assert_eq!(leased.swept.leases, [("10.1.0.9".parse().unwrap(), owner)]);
        let (locked, _) = place.open();
        assert!(!locked.is_used().unwrap() && locked.sweep().unwrap().is_empty());
    }

    #[test]
    fn an_attachment_is_its_containers_and_no_others() {
        let place = Place::new("attached", "");
        let (locked, _) = place.open();
        let first = attachment(&place.owner("a"));
        assert_eq!(locked.attach(&first).unwrap(), None);
        assert_eq!(locked.attach(&first).unwrap().as_ref(), Some(&first), "again, as after a crash");
        let mut other = first.clone();
        other.root = place.0.join("other");
        let error = locked.attach(&other).unwrap_err().to_string();
        assert!(error.contains("eth0 of a container a in") && error.contains("another id"), "{error}");
        assert_eq!(locked.attachments().unwrap().as_slice(), std::slice::from_ref(&first));
        let dirs = place.dirs();
        let of = |id| super::super::attachment::of_container(&dirs, &first.root, id).unwrap();
        assert_eq!((of("a"), of("b")), (vec![first.clone()], vec![]));
        locked.detach(&first.key()).unwrap();
        assert!(!locked.is_used().unwrap());
    }

    #[test]
    fn what_a_killed_command_left_half_written_is_no_lease() {
        let place = Place::new("half", "");
        drop(place.open());
        std::fs::write(place.dirs().run.join("n/.new"), "{\"container\":\"x").unwrap();
        assert_eq!(place.lease("a").unwrap(), "10.1.0.2/24");
        let (locked, _) = place.open();
        assert_eq!(locked.addresses().unwrap().len(), 1);
    }

    #[test]
    fn nothing_is_made_for_a_network_that_does_not_exist() {
        let place = Place::new("unknown", "");
        let error = lock::open(&place.dirs(), &"m".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("network m does not exist") && error.contains("nfrun network create m"), "{error}");
        assert!(!place.dirs().run.exists());
    }

    #[test]
    fn fifty_threads_get_fifty_addresses() {
        let place = Place::new("threads", "");
        let leased = std::thread::scope(|scope| {
            let place = &place;
            let threads: Vec<_> =
                (0..50).map(|n| scope.spawn(move || place.lease(&format!("c{n}")).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
        });
        let expected: BTreeSet<_> = (2..52).map(|n| format!("10.1.0.{n}/24")).collect();
        assert_eq!(leased, expected);
    }

    const CHILD: &str = "NFRUN_TEST_LEASE";

    /// This test program again, which does nothing but what [`child`] does.
    fn start_child(place: &Place, container: &str, count: u32) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "network::lease::tests::child"]).stdout(Stdio::null());
        child.env(CHILD, format!("{} {container} {count}", place.0.display())).spawn().unwrap()
    }

    #[test]
    fn child() {
        let Ok(words) = std::env::var(CHILD) else { return };
        let words: Vec<&str> = words.split(' ').collect();
        let place = std::mem::ManuallyDrop::new(Place(words[0].into()));
        for _ in 0..words[2].parse().unwrap() {
            place.lease(words[1]).unwrap();
        }
    }

    #[test]
    fn fifty_processes_get_fifty_addresses() {
        let place = Place::new("processes", "");
        let children: Vec<_> = (0..50).map(|n| start_child(&place, &format!("c{n}"), 1)).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let (locked, _) = place.open();
        let owners: BTreeSet<_> =
            (2..52).map(|n| locked.owner([10, 1, 0, n].into()).unwrap().expect("an owner").container).collect();
        assert_eq!((owners.len(), locked.addresses().unwrap().len()), (50, 50));
    }

    #[test]
    fn killed_processes_leave_whole_leases_and_no_lock() {
        let place = Place::new("killed", "");
        for n in 0..8 {
            let mut child = start_child(&place, &format!("c{n}"), 25);
            std::thread::sleep(std::time::Duration::from_millis(3 + 2 * n));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (locked, network) = place.open();
        for address in locked.addresses().unwrap() {
            assert!(locked.owner(address).unwrap().is_some(), "{address}");
        }
        let count = locked.addresses().unwrap().len() as u8;
        let next = lease(&locked, &network, 0, &place.owner("next")).unwrap();
        assert_eq!(next.address.addr(), IpAddr::from([10, 1, 0, 2 + count]), "none between was lost");
    }
}
