//! What init tells of a step that failed: which part of it, and the errno. The runtime has the words.

/// The part of a step that failed, for steps that are more than one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Act {
    /// The step's own call.
    Step = 0,
    /// Finding the place beneath the root.
    Resolve = 1,
    /// Making a missing directory or file to mount on.
    MakeMountPoint = 2,
    /// Attaching a mount to its place.
    Attach = 3,
    /// Setting a mount's flags.
    SetFlags = 4,
    /// Setting a mount's propagation.
    SetPropagation = 5,
    /// Opening a file.
    Open = 6,
    /// Writing a file.
    Write = 7,
    /// What was found is not what it must be: a fake /proc, a /dev/null that is none.
    NotGenuine = 8,
    /// Setting the owner or mode of what was made.
    SetOwner = 9,
    /// Sending a descriptor.
    Send = 10,
    /// The plan's bytes do not decode: a bug in nfrun.
    Decode = 11,
    /// An interpreter that a script or program names is missing.
    Interpreter = 12,
    /// The working directory lies outside the container's root.
    Outside = 13,
    /// No candidate in $PATH.
    NotInPath = 14,
    /// A file to be run is a directory or no regular file.
    NotAFile = 15,
    /// Writing down the state for a hook.
    Describe = 16,
    /// Starting a hook.
    StartHook = 17,
    /// A hook exited; its status stands for the errno.
    HookExited = 18,
    /// A signal killed a hook; its number stands for the errno.
    HookKilled = 19,
    /// A hook took longer than it may.
    HookTimedOut = 20,
    /// Whoever waited for a hook is gone.
    HookAbandoned = 21,
}

impl Act {
    /// The act that a number stands for; `Step` for an unknown one.
    pub fn from_number(number: u32) -> Self {
        use Act::*;
        const ALL: [Act; 22] = [
            Step,
            Resolve,
            MakeMountPoint,
            Attach,
            SetFlags,
            SetPropagation,
            Open,
            Write,
            NotGenuine,
            SetOwner,
            Send,
            Decode,
            Interpreter,
            Outside,
            NotInPath,
            NotAFile,
            Describe,
            StartHook,
            HookExited,
            HookKilled,
            HookTimedOut,
            HookAbandoned,
        ];
        ALL.get(number as usize).copied().unwrap_or(Step)
    }
}

/// A failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which part.
    pub act: Act,
    /// The kernel's reason.
    pub errno: i32,
}

/// Names the part of a step that a failed system call belongs to.
pub trait During<T> {
    /// Marks the failure.
    fn during(self, act: Act) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, i32> {
    fn during(self, act: Act) -> Result<T, Failure> {
        self.map_err(|errno| Failure { act, errno })
    }
}

impl From<i32> for Failure {
    fn from(errno: i32) -> Self {
        Self { act: Act::Step, errno }
    }
}
