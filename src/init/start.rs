//! What a program without a C runtime brings itself: the entry, memory functions that the compiler calls, the panic end.

use core::arch::global_asm;
use core::panic::PanicInfo;

use super::sys;

// The kernel enters with the stack pointer at argc and no return address: pass it on, aligned as the ABI wants.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym main);

/// argv[1] is `PLAN_FD:LENGTH`.
///
/// # Safety
/// `stack` is what the kernel entered with: argc, then argv.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the runtime passes two arguments; with fewer, argv[1] is the NULL that ends argv.
    let argument = unsafe { *stack.add(2) } as *const u8;
    let mut numbers = [0usize; 2];
    let mut which = 0;
    let mut at = argument;
    // SAFETY: argv strings end in NUL, and nothing is read past it.
    while !at.is_null() && unsafe { *at } != 0 {
        // SAFETY: as above.
        match unsafe { *at } {
            b':' => which = 1,
            digit => numbers[which] = numbers[which] * 10 + usize::from(digit.wrapping_sub(b'0')),
        }
        // SAFETY: the NUL is not passed.
        at = unsafe { at.add(1) };
    }
    let result = super::run(numbers[0] as sys::Fd, numbers[1]);
    sys::exit(result.err().map_or(0, |_| 1))
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    sys::exit(255)
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges; `rep movsb` touches nothing else.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: the caller's; a forward copy is right where the target does not begin inside the source.
        return unsafe { memcpy(to, from, count) };
    }
    for i in (0..count).rev() {
        // SAFETY: i is within both ranges, which the caller vouches for.
        unsafe { to.add(i).write_volatile(from.add(i).read()) };
    }
    to
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for i in 0..count {
        // SAFETY: i is within both ranges, which the caller vouches for.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
/// As strlen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for the NUL.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
