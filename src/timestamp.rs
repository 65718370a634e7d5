//! Points in time as RFC 3339 text in UTC, as Go prints them.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// To the second: `2024-02-29T23:59:59Z`. A time before 1970 counts as 1970.
pub fn seconds(time: SystemTime) -> String {
    format!("{}Z", civil(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()))
}

/// To the nanosecond, without trailing zeros: `2024-02-29T23:59:59.5Z`.
pub fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = format!(".{:09}", since.subsec_nanos());
    format!("{}{}Z", civil(since.as_secs()), fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// Seconds since 1970 as a date and a time of day in the Gregorian calendar.
fn civil(seconds: u64) -> String {
    let (days, of_day) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    // Years are counted from March, so that the leap day is the last of its year, and in 400-year cycles of 146097 days.
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, the months' lengths repeat every five months, 153 days.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn dates_are_right_at_the_edges_of_the_calendar() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(seconds(at(time, 0)), text);
        }
    }

    #[test]
    fn trailing_zeros_of_a_second_are_left_out() {
        assert_eq!(nanoseconds(at(0, 540_444_813)), "1970-01-01T00:00:00.540444813Z");
        assert_eq!(nanoseconds(at(0, 500_000_000)), "1970-01-01T00:00:00.5Z");
        assert_eq!(nanoseconds(at(0, 0)), "1970-01-01T00:00:00Z");
    }
}
