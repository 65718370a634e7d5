//! The architectures that a filter can speak for.

use std::ops::Range;

use oci_spec::runtime::Arch as Name;

use super::names::{self, Call};
use super::table::NA;

/// How many columns the table has.
pub(super) const COLUMNS: usize = 12;

/// The columns of the table: one a set of numbers, which several architectures may share.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
    Riscv64,
    Ppc64,
    Ppc,
    S390x,
    Loongarch64,
    Mips,
    Mips64,
}

/// Added to the number of an x32 call, whose architecture is x86_64's for the kernel (__X32_SYSCALL_BIT).
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// Where ARM's private calls begin (__ARM_NR_BASE), and the codes by which the table has them.
const PRIVATE_BASE: u32 = 0x000f_0000;
const PRIVATE: u16 = 0x3f0;
/// Every code is below: what is known of an architecture's calls fits an array of so many.
pub(super) const CODES: u16 = 0x400;

/// Bits of `Arch::audit` (linux/audit.h): the width and the byte order of the architecture.
const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LITTLE_ENDIAN: u32 = 0x4000_0000;

/// One architecture, in the profile's sense.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arch {
    /// What struct seccomp_data says: AUDIT_ARCH_*.
    pub(super) audit: u32,
    /// The number of the call whose code is 0.
    pub(super) base: u32,
    /// Registers have 64 bits. The audit word does not say it for x32, which shares x86_64's.
    pub(super) wide: bool,
    column: Column,
}

impl Arch {
    /// The architecture that the profile's word names, where there is a table for it.
    pub(super) fn named(name: Name) -> Option<Self> {
        let (audit, column) = match name {
            Name::ScmpArchNative => return Self::named(NATIVE),
            // The spec's values are libseccomp's tokens: the kernel's audit words but for x32 and MIPS's n32.
            Name::ScmpArchX32 => (Name::ScmpArchX86_64 as u32, Column::X32),
            Name::ScmpArchX86_64 => (name as u32, Column::X86_64),
            Name::ScmpArchX86 => (name as u32, Column::X86),
            Name::ScmpArchAarch64 => (name as u32, Column::Aarch64),
            Name::ScmpArchArm => (name as u32, Column::Arm),
            Name::ScmpArchRiscv64 => (name as u32, Column::Riscv64),
            Name::ScmpArchPpc64 | Name::ScmpArchPpc64le => (name as u32, Column::Ppc64),
            Name::ScmpArchPpc => (name as u32, Column::Ppc),
            Name::ScmpArchS390x => (name as u32, Column::S390x),
            Name::ScmpArchLoongarch64 => (name as u32, Column::Loongarch64),
            Name::ScmpArchMips | Name::ScmpArchMipsel => (name as u32, Column::Mips),
            Name::ScmpArchMips64 | Name::ScmpArchMipsel64 => (name as u32, Column::Mips64),
            Name::ScmpArchMips64n32
            | Name::ScmpArchMipsel64n32
            | Name::ScmpArchS390
            | Name::ScmpArchParisc
            | Name::ScmpArchParisc64
            | Name::ScmpArchM68k
            | Name::ScmpArchSh
            | Name::ScmpArchSheb => return None,
        };
        let base = match column {
            Column::X32 => X32_BIT,
            Column::Mips => 4000,
            Column::Mips64 => 5000,
            _ => 0,
        };
        let wide = audit & AUDIT_64BIT != 0 && !matches!(column, Column::X32);
        Some(Self { audit, base, wide, column })
    }

    /// The code of a call: its place among the architecture's calls.
    pub(super) fn code(&self, call: Call) -> Option<u16> {
        Some(names::code(call, self.column)).filter(|code| *code != NA)
    }

    /// The number that struct seccomp_data has for a code.
    pub(super) fn number(&self, code: u16) -> u32 {
        match code.checked_sub(PRIVATE) {
            Some(private) => PRIVATE_BASE + u32::from(private),
            None => self.base + u32::from(code),
        }
    }

    /// The codes of calls with numbers far above all others, which say nothing about how new a call is.
    pub(super) fn private_codes(&self) -> Option<Range<u16>> {
        matches!(self.column, Column::Arm).then_some(PRIVATE..CODES)
    }

    /// Whether code 0 is where the kernel also sends calls whose number it does not know.
    ///
    /// s390x passes numbers above 255 in a register and enters by call 0, which is setup(2) and long gone.
    pub(super) fn enters_unknown_calls_as_0(&self) -> bool {
        matches!(self.column, Column::S390x)
    }

    /// Whether greater numbers of the same architecture are x32's, which this one does not speak for.
    pub(super) fn has_x32_beside_it(&self) -> bool {
        matches!(self.column, Column::X86_64)
    }

    /// Where the low and the high word of an argument are in struct seccomp_data.
    pub(super) fn argument_offsets(&self, index: usize) -> (u32, u32) {
        let low_first = 16 + 8 * index as u32;
        if self.audit & AUDIT_LITTLE_ENDIAN != 0 { (low_first, low_first + 4) } else { (low_first + 4, low_first) }
    }
}

/// The architecture that nfrun itself is built for, always part of a filter.
pub(super) const NATIVE: Name = if cfg!(target_arch = "x86_64") {
    Name::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Name::ScmpArchAarch64
} else if cfg!(target_arch = "riscv64") {
    Name::ScmpArchRiscv64
} else if cfg!(target_arch = "arm") {
    Name::ScmpArchArm
} else if cfg!(target_arch = "x86") {
    Name::ScmpArchX86
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    Name::ScmpArchPpc64le
} else if cfg!(target_arch = "s390x") {
    Name::ScmpArchS390x
} else if cfg!(target_arch = "loongarch64") {
    Name::ScmpArchLoongarch64
} else {
    panic!("src/seccomp/arch.rs does not know the architecture that nfrun is built for")
};
