//! How a plan crosses from the runtime into init: plain bytes, offsets instead of pointers, read without allocation.
//!
//! Both sides compile this file: nfrun writes, init reads in place. Integers are little-endian and unaligned, text is a
//! length and its bytes with the NUL that system calls want, a list is a count, a length and its items.

use core::ffi::CStr;
use core::marker::PhantomData;

/// Where nfrun collects the bytes.
pub trait Sink {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);
}

/// Reads values from the front of a byte slice.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes; None at a truncated plan.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
}

/// A value that can cross.
pub trait Wire<'a>: Sized {
    /// Appends the value.
    fn write(&self, out: &mut dyn Sink);
    /// Takes the value off the front; None where the bytes are not one.
    fn read(from: &mut Reader<'a>) -> Option<Self>;
}

macro_rules! wire_integer {
    ($($int:ty),*) => {$(
        impl<'a> Wire<'a> for $int {
            fn write(&self, out: &mut dyn Sink) {
                out.put(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'a>) -> Option<Self> {
                Some(Self::from_le_bytes(from.take(size_of::<$int>())?.try_into().ok()?))
            }
        }
    )*};
}
wire_integer!(u8, u32, i32, u64, i64);

impl<'a> Wire<'a> for bool {
    fn write(&self, out: &mut dyn Sink) {
        u8::from(*self).write(out);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Some(u8::read(from)? != 0)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn write(&self, out: &mut dyn Sink) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Some(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
}

/// Text that a system call takes: it ends in NUL and holds none before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub &'a CStr);

impl<'a> Wire<'a> for Text<'a> {
    fn write(&self, out: &mut dyn Sink) {
        Bytes(self.0.to_bytes_with_nul()).write(out);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        CStr::from_bytes_with_nul(Bytes::read(from)?.0).ok().map(Text)
    }
}

/// Raw bytes, such as a seccomp program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Wire<'a> for Bytes<'a> {
    fn write(&self, out: &mut dyn Sink) {
        // A plan is bounded far below 4 GiB by the size that config.json may have.
        (self.0.len() as u32).write(out);
        out.put(self.0);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        let length = u32::read(from)? as usize;
        from.take(length).map(Bytes)
    }
}

/// Several values of one kind, decoded one at a time.
#[derive(Clone, Copy)]
pub struct List<'a, T> {
    count: u32,
    bytes: Bytes<'a>,
    item: PhantomData<T>,
}

impl<'a, T: Wire<'a>> List<'a, T> {
    /// A list over items that were written one after the other.
    pub fn new(count: u32, bytes: &'a [u8]) -> Self {
        Self { count, bytes: Bytes(bytes), item: PhantomData }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut reader = Reader(self.bytes.0);
        (0..self.count).map_while(move |_| T::read(&mut reader))
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for List<'a, T> {
    fn write(&self, out: &mut dyn Sink) {
        self.count.write(out);
        self.bytes.write(out);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        Some(Self { count: u32::read(from)?, bytes: Bytes::read(from)?, item: PhantomData })
    }
}

/// One of the descriptors that the runtime opened for init: an index into the table at the plan's head, since numbers
/// are known only once the descriptors are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u32);

impl<'a> Wire<'a> for Slot {
    fn write(&self, out: &mut dyn Sink) {
        self.0.write(out);
    }
    fn read(from: &mut Reader<'a>) -> Option<Self> {
        u32::read(from).map(Slot)
    }
}

/// Declares an enum of steps, or a struct of their parts, that crosses: the declaration is the format.
macro_rules! wire {
    ($(#[$meta:meta])* pub enum $name:ident<$lt:lifetime> { $($body:tt)* }) => {
        wire!(@enum [$(#[$meta])*] $name [<$lt>] $lt { $($body)* });
    };
    ($(#[$meta:meta])* pub enum $name:ident { $($body:tt)* }) => {
        wire!(@enum [$(#[$meta])*] $name [] 'a { $($body)* });
    };
    (@enum [$(#[$meta:meta])*] $name:ident [$($generics:tt)*] $lt:lifetime {
        $($(#[$vmeta:meta])* $variant:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? } = $tag:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[cfg_attr(nfrun_host, derive(Debug, serde::Serialize))]
        #[derive(Clone, Copy)]
        pub enum $name $($generics)* { $($(#[$vmeta])* $variant { $($(#[$fmeta])* $field: $type),* }),* }

        impl<$lt> $crate::init::wire::Wire<$lt> for $name $($generics)* {
            fn write(&self, out: &mut dyn $crate::init::wire::Sink) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        $crate::init::wire::Wire::write(&($tag as u8), out);
                        $($crate::init::wire::Wire::write($field, out);)*
                    })*
                }
            }
            fn read(from: &mut $crate::init::wire::Reader<$lt>) -> Option<Self> {
                Some(match <u8 as $crate::init::wire::Wire>::read(from)? {
                    $($tag => Self::$variant { $($field: $crate::init::wire::Wire::read(from)?),* },)*
                    _ => return None,
                })
            }
        }
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[cfg_attr(nfrun_host, derive(Debug, serde::Serialize))]
        #[derive(Clone, Copy)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }

        impl<'a> $crate::init::wire::Wire<'a> for $name {
            fn write(&self, out: &mut dyn $crate::init::wire::Sink) {
                $($crate::init::wire::Wire::write(&self.$field, out);)*
            }
            fn read(from: &mut $crate::init::wire::Reader<'a>) -> Option<Self> {
                Some(Self { $($field: $crate::init::wire::Wire::read(from)?),* })
            }
        }
    };
}
pub(crate) use wire;
