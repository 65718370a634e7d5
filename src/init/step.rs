//! The steps of init, a family a folder, and the head of the plan that init reads.

use super::wire::{Reader, Sink, Wire};
pub use super::{
    attributes::step::Step as Attributes, capabilities::step::Step as Capabilities, cgroups::step::Step as Cgroups,
    control::step::Step as Control, devices::step::Step as Devices, exec::step::Step as Exec,
    hooks::step::Step as Hooks, lsm::step::Step as Lsm, mounts::step::Step as Mounts,
    namespaces::step::Step as Namespaces, network::step::Step as Network, paths::step::Step as Paths,
    rootfs::step::Step as Rootfs, seccomp::step::Step as Seccomp, sysctls::step::Step as Sysctls,
    terminal::step::Step as Terminal, user::step::Step as User,
};

macro_rules! families {
    ($($(#[$meta:meta])* $family:ident $(<$lt:lifetime>)? = $tag:literal),* $(,)?) => {
        /// One step of init.
        #[cfg_attr(nfrun_host, derive(Debug, serde::Serialize))]
        #[derive(Clone, Copy)]
        pub enum Step<'a> { $($(#[$meta])* $family($family $(<$lt>)?)),* }

        impl<'a> Wire<'a> for Step<'a> {
            fn write(&self, out: &mut dyn Sink) {
                match self {
                    $(Self::$family(step) => { ($tag as u8).write(out); step.write(out); })*
                }
            }
            fn read(from: &mut Reader<'a>) -> Option<Self> {
                Some(match u8::read(from)? {
                    $($tag => Self::$family(Wire::read(from)?),)*
                    _ => return None,
                })
            }
        }

        $(impl<'a> From<$family $(<$lt>)?> for Step<'a> {
            fn from(step: $family $(<$lt>)?) -> Self {
                Self::$family(step)
            }
        })*
    };
}

families! {
    /// Waiting for the runtime and for `start`.
    Control = 0,
    /// Entering cgroups.
    Cgroups<'a> = 1,
    /// Joining and making namespaces, and what is named in them.
    Namespaces<'a> = 2,
    /// The root filesystem: attaching it, and making it the root.
    Rootfs<'a> = 3,
    /// Mounts beneath the root.
    Mounts<'a> = 4,
    /// Device nodes and the links of /dev.
    Devices<'a> = 5,
    /// Masked and read-only paths.
    Paths<'a> = 6,
    /// Kernel parameters of the namespaces.
    Sysctls<'a> = 7,
    /// The terminal.
    Terminal = 8,
    /// Ids, limits and what else hangs on the process.
    User<'a> = 9,
    /// Capabilities and no_new_privs.
    Capabilities = 10,
    /// The system call filter.
    Seccomp<'a> = 11,
    /// The working directory and the command.
    Exec<'a> = 12,
    /// Where the process runs, where its memory lies, how it sees the machine.
    Attributes<'a> = 13,
    /// Hooks.
    Hooks<'a> = 14,
    /// Labels of security modules.
    Lsm<'a> = 20,
    /// Interfaces, from inside of their namespace.
    Network<'a> = 21,
}

/// What stands before the steps: the numbers of the descriptors, known only once they are open.
pub struct Head<'a> {
    /// The page that the runtime reads progress from.
    pub control: i32,
    /// The socket to the runtime.
    pub socket: i32,
    /// How many descriptors after stderr the process inherits.
    pub preserve: u32,
    /// In a build for tests, the step before which init kills itself; u32::MAX for none.
    pub fault: u32,
    /// In a build for tests, the guards that are left out.
    #[cfg(feature = "fault")]
    pub left_out: u32,
    /// The descriptors that steps name by slot.
    pub slots: super::wire::List<'a, i32>,
}

impl<'a> Wire<'a> for Head<'a> {
    fn write(&self, out: &mut dyn Sink) {
        self.control.write(out);
        self.socket.write(out);
        self.preserve.write(out);
        self.fault.write(out);
        #[cfg(feature = "fault")]
        self.left_out.write(out);
        self.slots.write(out);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            control: i32::read(from)?,
            socket: i32::read(from)?,
            preserve: u32::read(from)?,
            fault: u32::read(from)?,
            #[cfg(feature = "fault")]
            left_out: u32::read(from)?,
            slots: Wire::read(from)?,
        })
    }
}

/// The page that init and the runtime share: where init is.
#[repr(C)]
pub struct Progress {
    /// The number of the step that init is at.
    pub step: core::sync::atomic::AtomicU32,
    /// The pid of the process that a fork step made, as the runtime's pid namespace knows it.
    pub forked: core::sync::atomic::AtomicI32,
    /// The pid of the hook that is running, in the pid namespace of whoever runs it; it leads a process group.
    pub hook: core::sync::atomic::AtomicI32,
}

/// The name that init has while it is init: PR_SET_NAME.
pub const NAME: &core::ffi::CStr = c"nfrun-init";
/// What init writes to the runtime when it waits for it.
pub const READY: u8 = b'R';
/// What the runtime, or `start`, writes to let init go on.
pub const GO: u8 = b'G';
/// What init writes to the runtime beside a mount's descriptor that it shows.
pub const SHOWN: u8 = b'M';
/// What init writes before it loads a filter that hands calls to an agent: then, as u32 and u64, the number that the
/// filter's listener will have among its descriptors, and the address of a u32 that it waits on to be no longer zero.
pub const LISTENER: u8 = b'L';
/// What precedes a failure on the wire: then act and errno as u32 and i32, then the step's own bytes.
pub const FAILED: u8 = b'F';
