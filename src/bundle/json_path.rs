//! Where in a JSON text an error lies, as a path of fields: serde_json tells line and column only.

/// One level that the text is in.
enum Level {
    Object(String),
    Array(usize),
}

/// The path of the value at, or ending before, a line and column (both from 1), such as `mounts[2].options`.
pub fn at(text: &str, line: usize, column: usize) -> String {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = (before + column.saturating_sub(1)).min(text.len());
    let bytes = text.as_bytes();
    let mut levels: Vec<Level> = Vec::new();
    let mut wants_key = false;
    let mut i = 0;
    while i < end {
        match bytes[i] {
            b'{' => {
                levels.push(Level::Object(String::new()));
                wants_key = true;
            }
            b'[' => {
                levels.push(Level::Array(0));
                wants_key = false;
            }
            b'}' | b']' => {
                levels.pop();
                wants_key = false;
            }
            b',' => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_)) => wants_key = true,
                None => {}
            },
            b'"' => {
                let length = string_length(&bytes[i..]);
                if let (true, Some(Level::Object(key))) = (wants_key, levels.last_mut()) {
                    *key = text.get(i + 1..i + length - 1).unwrap_or_default().to_owned();
                    wants_key = false;
                }
                i += length - 1;
            }
            _ => {}
        }
        i += 1;
    }
    print(&levels)
}

/// From one quote to behind the other.
fn string_length(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let end = bytes.iter().skip(1).position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(bytes.len().max(2), |end| end + 2)
}

fn print(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(key) if key.is_empty() => {}
            Level::Object(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_by_its_place() {
        let text = "{\n \"a\": {\"b\": [1, {\"c,\\\"d\": true}, 5]},\n \"e\": \"x\"}";
        let path_of = |what: &str| {
            let end = text.find(what).unwrap() + what.len();
            let line = text[..end].matches('\n').count() + 1;
            at(text, line, end - text[..end].rfind('\n').map_or(0, |newline| newline + 1))
        };
        assert_eq!(path_of("[1"), "a.b[0]");
        assert_eq!(path_of("true"), "a.b[1].c,\\\"d");
        assert_eq!(path_of("5"), "a.b[2]");
        assert_eq!(path_of("\"x\""), "e");
    }
}
