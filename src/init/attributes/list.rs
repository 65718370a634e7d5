//! Lists of CPUs and memory nodes such as `0-3,7`: cpuset(7), "List format".

use crate::{Error, Result};

/// The mask of a list: bit N of the bytes for the number N, in whole words of 64 bits as system calls read them. As in
/// runc there may be spaces around an item, and empty items; there must be one number at least.
///
/// # Errors
/// Names `field` where an item is no number or range, a range runs backwards, or a number is above `highest`.
pub fn mask(field: &str, list: &str, highest: usize) -> Result<Vec<u8>> {
    let mut mask = Vec::new();
    for item in list.split(',').map(|item| item.trim_matches(' ')).filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (number(field, list, first, highest)?, number(field, list, last, highest)?);
        if first > last {
            return Err(Error::invalid(format!("{field}: {list:?}: the range {item} runs backwards")));
        }
        if mask.len() * 8 <= last {
            mask.resize((last / 64 + 1) * 8, 0);
        }
        (first..=last).for_each(|n| mask[n / 8] |= 1 << (n % 8));
    }
    if mask.is_empty() {
        return Err(Error::invalid(format!("{field}: {list:?} names none: it takes numbers and ranges such as 0-3,7")));
    }
    Ok(mask)
}

fn number(field: &str, list: &str, text: &str, highest: usize) -> Result<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid(format!("{field}: {list:?} is no list of numbers and ranges such as 0-3,7")));
    }
    text.parse()
        .ok()
        .filter(|n| *n <= highest)
        .ok_or_else(|| Error::invalid(format!("{field}: {list:?}: {text} is above {highest}, the highest in Linux")))
}

/// The list of a mask.
pub fn list(mask: &[u8]) -> String {
    let set = |n: usize| mask.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 != 0);
    let mut items = Vec::new();
    let mut n = 0;
    while n < mask.len() * 8 {
        if set(n) {
            let first = n;
            while set(n + 1) {
                n += 1;
            }
            items.push(if first == n { n.to_string() } else { format!("{first}-{n}") });
        }
        n += 1;
    }
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String> {
        mask("cpus", text, 8191).map(|mask| list(&mask))
    }

    #[test]
    fn numbers_and_ranges_become_a_mask_and_come_back() {
        for (text, canonical) in [
            ("0", "0"),
            ("0-3,7", "0-3,7"),
            ("1, 2, 1-2", "1-2"),
            ("    , 1   , 3  ,  5-7,    ", "1,3,5-7"),
            ("63,64,127-129", "63-64,127-129"),
            ("8191", "8191"),
        ] {
            assert_eq!(read(text).unwrap(), canonical, "{text:?}");
        }
        assert_eq!(mask("cpus", "0,9", 100).unwrap(), [1, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_field() {
        for text in
            ["", " ", ",", "-", "1-", "-3", "54-53", "1 - 2", "+1", "0x1", "a", "1;2", "8192", "0-99999999999999999999"]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("cpus: "), "{text:?}: {error}");
        }
    }
}
