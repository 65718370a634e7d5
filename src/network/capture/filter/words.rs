//! The text of a filter as words: `(`, `)`, `and`, `or` and `not` with their signs, and everything else as it stands.

use crate::{Error, Result};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `(`
    Open,
    /// `)`
    Close,
    /// `and`, `&&`
    And,
    /// `or`, `||`
    Or,
    /// `not`, `!`
    Not,
    /// A keyword, a number, an address, a name.
    Text(String),
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Text(text) => text,
        })
    }
}

/// Takes a filter apart. Signs need no space around them.
pub fn split(text: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '!' => 1,
            '&' | '|' => 2,
            _ => rest.find(|c: char| c.is_whitespace() || "()!&|".contains(c)).unwrap_or(rest.len()),
        };
        let sign = || Error::invalid(format!("filter: {first:?} alone means nothing: && is and, || is or"));
        let (word, behind) = rest.split_at_checked(length).ok_or_else(sign)?;
        words.push(match word {
            "(" => Word::Open,
            ")" => Word::Close,
            "!" | "not" => Word::Not,
            "&&" | "and" => Word::And,
            "||" | "or" => Word::Or,
            _ if "&|".contains(first) => return Err(sign()),
            _ => Word::Text(word.to_owned()),
        });
        rest = behind.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_need_no_space_and_words_have_a_sign() {
        let words = split(" !(host 10.0.0.1&&port 80)||not arp").unwrap();
        let shown: Vec<String> = words.iter().map(Word::to_string).collect();
        assert_eq!(shown, ["not", "(", "host", "10.0.0.1", "and", "port", "80", ")", "or", "not", "arp"]);
        assert_eq!(split("&&").unwrap(), split("and").unwrap());
        assert!(split("").unwrap().is_empty());
    }

    #[test]
    fn half_a_sign_is_refused() {
        for bad in ["tcp & udp", "tcp |", "tcp |ä"] {
            assert!(split(bad).unwrap_err().to_string().contains("&& is and"), "{bad}");
        }
    }
}
