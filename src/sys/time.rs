//! The time of day where the machine is: tzset(3).

/// Hours, minutes and seconds of a time since 1970: localtime_r(3).
pub fn of_day(seconds: i64) -> Option<(u8, u8, u8)> {
    let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both outlive the call, and all zero is a valid value of the structure.
    let filled = unsafe { libc::localtime_r(&raw const seconds, broken.as_mut_ptr()) };
    // SAFETY: as said, whether or not it was filled.
    let broken = unsafe { broken.assume_init() };
    (!filled.is_null()).then_some((broken.tm_hour as u8, broken.tm_min as u8, broken.tm_sec as u8))
}
