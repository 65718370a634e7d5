//! The grammar of pcap-filter(7): `and` and `or` bind alike, from left to right, `not` binds closest; a value without words
//! before it has those of the value before (`port 80 or 443`).

use super::address;
use super::meaning::{self, Direction, Kind, Protocol, Qualifiers};
use super::names;
use super::test::Expression;
use super::words::{Word, split};
use crate::{Error, Result};

/// How deep parentheses and `not` may stand in each other.
const DEEPEST: usize = 100;
/// More could not be compiled: each takes four instructions at least.
const MOST: usize = 1024;

/// Every word that a filter knows, for whoever wrote another.
const KNOWN: &str = "host, net, mask, port, portrange, proto, src, dst, ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, \
                     vlan, less, greater, broadcast, multicast, inbound, outbound, and, or, not, ( and )";

/// Reads a filter.
pub fn parse(text: &str) -> Result<Expression> {
    let words = split(text)?;
    if words.is_empty() {
        return Ok(Expression::All(Vec::new()));
    }
    let mut parser = Parser { words: words.into_iter().peekable(), last: None, primitives: 0 };
    let expression = parser.expression(0)?;
    match parser.words.next() {
        None => Ok(expression),
        Some(Word::Close) => Err(Error::invalid("filter: a ) closes nothing")),
        Some(word) => Err(Error::invalid(format!("filter: {word} is behind what is whole: and or or between them?"))),
    }
}

struct Parser {
    words: std::iter::Peekable<std::vec::IntoIter<Word>>,
    /// The words before the last value.
    last: Option<Qualifiers>,
    primitives: usize,
}

impl Parser {
    fn expression(&mut self, depth: usize) -> Result<Expression> {
        let mut left = self.term(depth)?;
        loop {
            match self.words.peek() {
                Some(Word::And) => {
                    self.words.next();
                    left = left.and(self.term(depth)?);
                }
                Some(Word::Or) => {
                    self.words.next();
                    left = left.or(self.term(depth)?);
                }
                _ => return Ok(left),
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Expression> {
        if depth > DEEPEST {
            return Err(Error::invalid(format!("filter: more than {DEEPEST} levels of ( and not")));
        }
        match self.words.next() {
            Some(Word::Not) => Ok(Expression::Not(Box::new(self.term(depth + 1)?))),
            Some(Word::Open) => {
                let inner = self.expression(depth + 1)?;
                match self.words.next() {
                    Some(Word::Close) => Ok(inner),
                    _ => Err(Error::invalid("filter: a ( is not closed")),
                }
            }
            Some(Word::Text(word)) => self.primitive(word, depth),
            Some(word) => Err(Error::invalid(format!("filter: something to look for has to stand before {word}"))),
            None => Err(Error::invalid("filter: it ends where something to look for is expected")),
        }
    }

    fn primitive(&mut self, word: String, depth: usize) -> Result<Expression> {
        self.primitives += 1;
        if self.primitives > MOST {
            return Err(Error::invalid(format!("filter: more than {MOST} things to look for")));
        }
        match word.as_str() {
            "less" => Ok(meaning::at_most(self.number("less")?)),
            "greater" => Ok(meaning::at_least(self.number("greater")?)),
            "vlan" => self.vlan(),
            "inbound" => Ok(meaning::inbound()),
            "outbound" => Ok(meaning::outbound()),
            "broadcast" => Ok(meaning::broadcast()),
            "multicast" => meaning::multicast(None),
            _ => self.qualified(word, depth),
        }
    }

    /// A primitive that begins with words about a value, or with the value.
    fn qualified(&mut self, word: String, depth: usize) -> Result<Expression> {
        let protocol = Protocol::of(&word);
        let Some(protocol) = protocol else { return self.about_value(word, Qualifiers::default(), depth) };
        match self.words.peek() {
            Some(Word::Text(next)) if next == "broadcast" => {
                self.words.next();
                match protocol {
                    Protocol::Ether => Ok(meaning::broadcast()),
                    _ => Err(Error::invalid(format!(
                        "filter: {word} broadcast: which address that is depends on the network; say host and the address"
                    ))),
                }
            }
            Some(Word::Text(next)) if next == "multicast" => {
                self.words.next();
                meaning::multicast(Some(protocol))
            }
            Some(Word::Text(next)) if Direction::of(next).is_some() || Kind::of(next).is_some() => {
                let next = next.clone();
                self.words.next();
                self.about_value(next, Qualifiers { protocol: Some(protocol), ..Qualifiers::default() }, depth)
            }
            _ if protocol == Protocol::Ether => {
                Err(Error::invalid("filter: ether wants host, src, dst, proto, broadcast or multicast behind it"))
            }
            _ => {
                self.last = None;
                Ok(meaning::carries(protocol))
            }
        }
    }

    /// Direction, kind and value, of which `word` is the first that is there.
    fn about_value(&mut self, word: String, mut about: Qualifiers, depth: usize) -> Result<Expression> {
        let mut word = Some(word);
        if let Some(direction) = word.as_deref().and_then(Direction::of) {
            about.direction = Some(self.direction(direction));
            word = self.text();
        }
        if let Some(kind) = word.as_deref().and_then(Kind::of) {
            about.kind = Some(kind);
            word = self.text();
        }
        let is_qualified = about != Qualifiers::default();
        match word {
            Some(value) if is_qualified => self.value(about, value),
            Some(value) => self.bare(value),
            // `port (80 or 443)`
            None if self.words.peek() == Some(&Word::Open) => {
                self.last = Some(about);
                self.term(depth + 1)
            }
            None => Err(Error::invalid(format!("filter: {about} wants a value behind it"))),
        }
    }

    /// `src`, and `src or dst`, `src and dst`.
    fn direction(&mut self, first: Direction) -> Direction {
        let mut ahead = self.words.clone();
        let both = match ahead.next() {
            Some(Word::Or) => Direction::Either,
            Some(Word::And) => Direction::Both,
            _ => return first,
        };
        match ahead.next() {
            Some(Word::Text(second)) if Direction::of(&second).is_some_and(|second| second != first) => {
                self.words = ahead;
                both
            }
            _ => first,
        }
    }

    fn value(&mut self, about: Qualifiers, value: String) -> Result<Expression> {
        let masked = about.kind == Some(Kind::Net) && self.words.peek() == Some(&Word::Text("mask".into()));
        let mask = if masked {
            self.words.next();
            Some(self.text().ok_or_else(|| Error::invalid("filter: mask wants a value behind it"))?)
        } else {
            None
        };
        self.last = Some(about);
        meaning::of(about, &value, mask.as_deref())
    }

    /// A value without a word before it.
    fn bare(&mut self, value: String) -> Result<Expression> {
        let about = self.last.unwrap_or_default();
        match meaning::of(about, &value, None) {
            Ok(found) => Ok(found),
            // What begins like a number was meant as one.
            Err(error) if value.starts_with(|c: char| c.is_ascii_digit()) => Err(error),
            Err(_) if address::host(&value).is_ok() => meaning::of(Qualifiers::default(), &value, None),
            Err(_) if value.contains('[') => Err(Error::invalid(format!(
                "filter: {value}: looking at single bytes is not among what a filter knows: {KNOWN}"
            ))),
            Err(_) => Err(Error::invalid(format!("filter: {value:?} is not known; what is: {KNOWN}"))),
        }
    }

    fn vlan(&mut self) -> Result<Expression> {
        let Some(Word::Text(next)) = self.words.peek() else { return Ok(meaning::tagged(None)) };
        // Any other word is one of the next primitive, where an `and` lacks: told when that is read.
        if !next.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(meaning::tagged(None));
        }
        match self.number("vlan")? {
            id @ 0..=4095 => Ok(meaning::tagged(Some(id))),
            id => Err(Error::invalid(format!("filter: vlan {id}: a VLAN's number is 0 to 4095"))),
        }
    }

    fn number(&mut self, of: &str) -> Result<u32> {
        let text = self.text();
        text.as_deref().and_then(names::number).ok_or_else(|| {
            Error::invalid(format!("filter: {of} wants a number behind it, not {:?}", text.unwrap_or_default()))
        })
    }

    /// The next word, where it is none of those that connect.
    fn text(&mut self) -> Option<String> {
        match self.words.next_if(|word| matches!(word, Word::Text(_))) {
            Some(Word::Text(text)) => Some(text),
            _ => None,
        }
    }
}
