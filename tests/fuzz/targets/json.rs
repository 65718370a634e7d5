//! Changes to a JSON document that leave it one: libFuzzer's own break it more often than not.

use serde_json::{Map, Value, json};

/// A small generator: the same changes for the same seed.
pub struct Dice(u32);

impl Dice {
    pub fn new(seed: u32) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x915f_77f5).wrapping_add(0x9e37_79b9);
        (self.0 >> 8) as usize % below.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// Changes a document in a few places; `words` are what its texts and keys may become.
pub fn mutate(document: &mut Value, dice: &mut Dice, words: &[&str]) {
    for _ in 0..=dice.roll(4) {
        let all = count(document);
        let (from, to) = (dice.roll(all), dice.roll(all));
        let spare = nth(document, &mut { from }).cloned();
        let Some(place) = nth(document, &mut { to }) else { continue };
        match dice.roll(8) {
            0 => *place = scalar(dice, words),
            // What stands elsewhere in the document, when it is not the whole.
            1 | 2 => *place = spare.filter(|value| count(value) < 64).unwrap_or_default(),
            _ => inside(place, dice, words),
        }
    }
}

/// How many values there are in one, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The n-th value, itself being number 0.
fn nth<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, n)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, n)),
        _ => None,
    }
}

fn inside(place: &mut Value, dice: &mut Dice, words: &[&str]) {
    match place {
        Value::Array(list) => {
            let at = dice.roll(list.len());
            match dice.roll(4) {
                0 if !list.is_empty() => drop(list.remove(at)),
                1 if !list.is_empty() && list.len() < 64 => list.push(list[at].clone()),
                2 if !list.is_empty() => {
                    let other = dice.roll(list.len());
                    list.swap(at, other);
                }
                _ => list.push(scalar(dice, words)),
            }
        }
        Value::Object(map) => change_object(map, dice, words),
        Value::String(text) => change_text(text, dice, words),
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or(0);
            *place = match dice.roll(4) {
                0 => json!(number.wrapping_add(1)),
                1 => json!(number.wrapping_sub(1)),
                2 => json!(number ^ 1 << dice.roll(63)),
                _ => scalar(dice, words),
            };
        }
        _ => *place = scalar(dice, words),
    }
}

fn change_object(map: &mut Map<String, Value>, dice: &mut Dice, words: &[&str]) {
    let keys: Vec<String> = map.keys().cloned().collect();
    match (dice.roll(3), keys.is_empty()) {
        (0, false) => drop(map.remove(dice.of(&keys))),
        (1, false) => {
            let value = map.remove(dice.of(&keys)).unwrap_or_default();
            map.insert((*dice.of(words)).to_owned(), value);
        }
        _ => drop(map.insert((*dice.of(words)).to_owned(), scalar(dice, words))),
    }
}

fn change_text(text: &mut String, dice: &mut Dice, words: &[&str]) {
    match dice.roll(6) {
        0 => *text = (*dice.of(words)).to_owned(),
        1 => text.push_str(dice.of::<&str>(words)),
        2 => text.insert_str(0, dice.of::<&str>(words)),
        3 => drop(text.pop()),
        4 => *text = text.repeat(1 + dice.roll(3)).chars().take(5000).collect(),
        _ => text.push(*dice.of(&['\0', '/', ':', '=', '.', ',', '-', ' ', '\n', '9', 'é', '\u{ff11}', '\u{202e}'])),
    }
}

fn scalar(dice: &mut Dice, words: &[&str]) -> Value {
    const NUMBERS: [i64; 16] = [
        0,
        1,
        -1,
        2,
        64,
        255,
        1000,
        65535,
        65536,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        i64::MAX,
        i64::MIN,
        -1000,
    ];
    match dice.roll(10) {
        0 => Value::Null,
        1 => json!(dice.roll(2) == 0),
        2 => json!([]),
        3 => json!({}),
        4 => json!(u64::MAX),
        5 => json!(0.5),
        6 | 7 => json!(dice.of(&NUMBERS)),
        _ => json!(dice.of::<&str>(words)),
    }
}

/// Reads, changes, writes back; None where the input is no document or does not fit any more.
pub fn mutate_bytes(data: &mut [u8], size: usize, max_size: usize, seed: u32, words: &[&str]) -> Option<usize> {
    let mut document: Value = serde_json::from_slice(data.get(..size)?).ok()?;
    mutate(&mut document, &mut Dice::new(seed), words);
    let text = serde_json::to_vec(&document).ok()?;
    let fits = text.len() <= max_size && text.len() <= data.len();
    fits.then(|| {
        data[..text.len()].copy_from_slice(&text);
        text.len()
    })
}
