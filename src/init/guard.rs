//! Protections that a build for tests (feature `fault`) can leave out, one by one: `NFRUN_FAULT=skip:NAME,NAME`. A test
//! then shows that the attack which a protection repels succeeds without it. In a release a guard always stands, which the
//! compiler knows, so nothing of this is left.

macro_rules! guards {
    ($($(#[$meta:meta])* $name:ident = $number:literal $word:literal),* $(,)?) => {
        /// One protection.
        #[derive(Debug, Clone, Copy)]
        #[repr(u32)]
        pub enum Guard { $($(#[$meta])* $name = $number),* }

        /// Every guard by its name.
        #[cfg(all(feature = "fault", nfrun_host))]
        const NAMES: &[(&str, Guard)] = &[$(($word, Guard::$name)),*];
    };
}

guards! {
    /// Places are looked up beneath the container's root: links lead nowhere else.
    Beneath = 0 "beneath",
    /// proc and sysfs are mounted in real directories only.
    RealDirectories = 1 "real-directories",
    /// No link leads a mount over procfs.
    OutsideProc = 2 "outside-proc",
    /// The plan refuses mounts inside /proc.
    RefuseInProc = 3 "refuse-in-proc",
    /// Masked files are covered by the host's /dev/null.
    HostNull = 4 "host-null",
    /// /dev/console is no link.
    RealConsole = 5 "real-console",
    /// A node that is there already is the device that was asked for.
    RealDevice = 6 "real-device",
    /// An init that joins a container cannot be traced.
    Untraceable = 7 "untraceable",
    /// Descriptors of the host are closed before the image is looked at.
    CloseDescriptors = 8 "close-descriptors",
    /// The working directory lies inside the root.
    DirectoryInside = 9 "directory-inside",
    /// What kernel parameters are written to is procfs.
    RealProc = 10 "real-proc",
    /// Mounts get the flags that the bundle asks for.
    MountFlags = 11 "mount-flags",
    /// Capabilities are taken away.
    DropCapabilities = 12 "drop-capabilities",
    /// `exec --cap` leaves the inheritable set alone.
    NotInheritable = 13 "not-inheritable",
    /// An id that system calls take as "no change" is refused.
    RealIds = 14 "real-ids",
    /// The account file is a regular one.
    RegularAccounts = 15 "regular-accounts",
    /// tmpcopyup reads beneath the rootfs.
    CopyBeneath = 16 "copy-beneath",
    /// An interface's name is one that the kernel takes.
    InterfaceNames = 24 "interface-names",
    /// A netlink attribute that its length cannot tell is refused.
    NetlinkLengths = 25 "netlink-lengths",
    /// The process of an `exec` enters the pid namespace once it has lost its capabilities.
    LateFork = 26 "late-fork",
    /// A hook from the image runs once init has lost its capabilities.
    LateHooks = 28 "late-hooks",
}

/// Whether a protection is in force.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub const fn stands(_: Guard) -> bool {
    true
}

/// Whether a protection is in force.
#[cfg(feature = "fault")]
pub fn stands(guard: Guard) -> bool {
    left_out() >> guard as u32 & 1 == 0
}

/// The guards that are left out, by their bits: as the environment says. A name that is none would leave nothing out, and
/// its test tell nothing.
#[cfg(all(feature = "fault", nfrun_host))]
pub fn left_out() -> u32 {
    let text = std::env::var("NFRUN_FAULT").unwrap_or_default();
    let Some(names) = text.strip_prefix("skip:") else { return 0 };
    names.split(',').fold(0, |mask, name| match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, guard)) => mask | 1 << *guard as u32,
        None => panic!("NFRUN_FAULT: there is no guard {name:?}"),
    })
}

/// What the plan's head says of them.
#[cfg(all(feature = "fault", not(nfrun_host)))]
pub static LEFT_OUT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

#[cfg(all(feature = "fault", not(nfrun_host)))]
fn left_out() -> u32 {
    LEFT_OUT.load(core::sync::atomic::Ordering::Relaxed)
}
