//! Messages as bytes: "Marshaling" and "Message Format" of the specification. A bus and its clients are on one machine, so
//! the byte order is this machine's.

use super::value::Value;
use crate::{Error, Result};

/// The longest message that is read. The specification allows 128 MiB; what systemd answers is a few hundred bytes.
pub(super) const MOST: usize = 1 << 20;

/// The length of the fixed part of a message's header.
pub(super) const FIXED: usize = 16;

#[cfg(target_endian = "little")]
const ORDER: u8 = b'l';
#[cfg(target_endian = "big")]
const ORDER: u8 = b'B';

/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// METHOD_CALL
    Call = 1,
    /// METHOD_RETURN
    Return = 2,
    /// ERROR
    Error = 3,
    /// SIGNAL
    Signal = 4,
}

/// A call of a method.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whom.
    pub destination: &'a str,
    /// Which of his objects.
    pub path: &'a str,
    /// Which of its interfaces.
    pub interface: &'a str,
    /// Which method.
    pub member: &'a str,
    /// With what.
    pub body: Body,
}

/// A message's arguments. Alignment counts from the message's start, and a body starts at a multiple of eight.
#[derive(Debug, Default)]
pub struct Body {
    signature: String,
    bytes: Writer,
}

impl Body {
    /// Adds a string.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        self.bytes.text(text);
        self
    }

    /// Adds a boolean.
    #[must_use]
    pub fn bool(mut self, value: bool) -> Self {
        self.signature.push('b');
        self.bytes.u32(value.into());
        self
    }

    /// Adds a list of numbers: `au`.
    #[must_use]
    pub fn numbers(mut self, values: &[u32]) -> Self {
        self.signature.push_str("au");
        self.bytes.array(4, values, |out, value| out.u32(*value));
        self
    }

    /// Adds properties: `a(sv)`.
    #[must_use]
    pub fn properties<'a>(mut self, properties: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        self.signature.push_str("a(sv)");
        let properties: Vec<_> = properties.into_iter().collect();
        self.bytes.array(8, &properties, |out, (name, value)| {
            out.align(8);
            out.text(name);
            out.variant(value);
        });
        self
    }

    /// Adds an empty list of units with their properties, `a(sa(sv))`.
    #[must_use]
    pub fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        self.bytes.array::<()>(8, &[], |_, ()| {});
        self
    }
}

impl Call<'_> {
    /// The call as it is sent.
    pub(super) fn message(&self, serial: u32) -> Vec<u8> {
        let mut out = Writer::default();
        out.0.extend([ORDER, Kind::Call as u8, 0, 1]);
        out.u32(self.body.bytes.0.len() as u32);
        out.u32(serial);
        let fields = [
            (PATH, "o", self.path),
            (INTERFACE, "s", self.interface),
            (MEMBER, "s", self.member),
            (DESTINATION, "s", self.destination),
            (SIGNATURE, "g", &self.body.signature),
        ];
        let fields: Vec<_> = fields.into_iter().filter(|(_, _, text)| !text.is_empty()).collect();
        out.array(8, &fields, |out, (code, kind, text)| {
            out.align(8);
            out.0.push(*code);
            out.signature(kind);
            if *kind == "g" { out.signature(text) } else { out.text(text) }
        });
        out.align(8);
        out.0.extend(&self.body.bytes.0);
        out.0
    }
}

/// Bytes with alignment.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// The length of an array counts from its first element, behind the padding before that.
    fn array<T>(&mut self, alignment: usize, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        items.iter().for_each(|item| write(self, item));
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32((*value).into()),
            Value::Int32(value) => self.u32(*value as u32),
            Value::U64(value) => self.u64(*value),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, texts, |out, text| out.text(text)),
            Value::Numbers(numbers) => self.array(4, numbers, |out, number| out.u32(*number)),
            Value::Bytes(bytes) => self.array(1, bytes, |out, byte| out.0.push(*byte)),
            Value::Pairs(pairs) => self.array(8, pairs, |out, (first, second)| {
                out.align(8);
                out.text(first);
                out.text(second);
            }),
            Value::Rates(rates) => self.array(8, rates, |out, (path, rate)| {
                out.align(8);
                out.text(path);
                out.u64(*rate);
            }),
        }
    }
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The serial of the call that it answers.
    pub answers: Option<u32>,
    /// Who sent it, as the bus says.
    pub sender: String,
    /// The interface of a signal.
    pub interface: String,
    /// The name of a signal.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// The types of its arguments.
    pub signature: String,
    /// How long it was as a whole.
    pub(super) length: usize,
    body: Vec<u8>,
}

impl Message {
    /// The whole length of the message that begins so, as its header says.
    ///
    /// # Errors
    /// When it is no message, or longer than any that is awaited.
    pub(super) fn length(begin: &[u8; FIXED]) -> Result<usize> {
        let number: fn([u8; 4]) -> u32 = match (begin[0], begin[3]) {
            (b'l', 1) => u32::from_le_bytes,
            (b'B', 1) => u32::from_be_bytes,
            _ => return Err(Error::new("what the bus sent is no message of version 1 of the protocol")),
        };
        let number = |at: usize| number([begin[at], begin[at + 1], begin[at + 2], begin[at + 3]]) as usize;
        let (body, fields) = (number(4), number(12));
        if body > MOST || fields > MOST {
            return Err(Error::new("the bus sent a message of more than a megabyte, which nothing here asked for"));
        }
        Ok((FIXED + fields).next_multiple_of(8) + body)
    }

    /// Reads a whole message; None for a kind that is not known, which the specification has ignored, and for one of another
    /// byte order: whatever answers here has this machine's, but anybody may send a signal.
    ///
    /// # Errors
    /// When the bytes are none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        parse(bytes).ok_or_else(|| Error::new("the bus sent a message that cannot be read"))
    }

    /// The arguments.
    pub fn arguments(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

fn parse(bytes: &[u8]) -> Option<Option<Message>> {
    if *bytes.first()? != ORDER {
        return Some(None);
    }
    let fields_end = FIXED + u32::from_ne_bytes(bytes.get(12..16)?.try_into().ok()?) as usize;
    let kind = match bytes.get(1)? {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return Some(None),
    };
    let body = bytes.get(fields_end.next_multiple_of(8)..)?.to_vec();
    let mut message = Message {
        kind,
        answers: None,
        sender: String::new(),
        interface: String::new(),
        member: String::new(),
        error: String::new(),
        signature: String::new(),
        length: bytes.len(),
        body,
    };
    let mut reader = Reader { bytes: bytes.get(..fields_end)?, at: FIXED };
    while reader.at < fields_end {
        reader.align(8);
        let code = reader.u8()?;
        let kind = reader.signature()?;
        match (code, kind) {
            (INTERFACE, "s") => message.interface = reader.text()?.to_owned(),
            (MEMBER, "s") => message.member = reader.text()?.to_owned(),
            (ERROR_NAME, "s") => message.error = reader.text()?.to_owned(),
            (SENDER, "s") => message.sender = reader.text()?.to_owned(),
            (REPLY_SERIAL, "u") => message.answers = Some(reader.u32()?),
            (SIGNATURE, "g") => message.signature = reader.signature()?.to_owned(),
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.u32()?),
            _ => return None,
        }
    }
    Some(Some(message))
}

/// Bytes being read. None where they end too early or are not what is asked for.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number.
    pub fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or an object's path.
    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.u8()? == 0).then_some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.u8()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.u8()? == 0).then_some(text)
    }

    /// A string within a variant.
    pub fn variant_text(&mut self) -> Option<&'a str> {
        if self.signature()? == "s" { self.text() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Body) -> Vec<u8> {
        let call = Call { destination: "a.b", path: "/a", interface: "a.b.C", member: "Do", body };
        call.message(7)
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let bytes = call(Body::default().text("x").bool(true));
        assert_eq!(bytes[..4], [ORDER, 1, 0, 1]);
        assert_eq!(
            u32::from_ne_bytes(bytes[4..8].try_into().unwrap()),
            12,
            "x and NUL behind a length, padding, a number"
        );
        assert_eq!(u32::from_ne_bytes(bytes[8..12].try_into().unwrap()), 7);
        assert_eq!(bytes.len() % 4, 0);
        let length = Message::length(bytes[..FIXED].try_into().unwrap()).unwrap();
        assert_eq!(length, bytes.len());
        let message = Message::parse(&bytes).unwrap().unwrap();
        assert_eq!((message.kind, message.member.as_str(), message.signature.as_str()), (Kind::Call, "Do", "sb"));
        let mut arguments = message.arguments();
        assert_eq!((arguments.text(), arguments.u32()), (Some("x"), Some(1)));
        assert_eq!(arguments.u32(), None, "there is no more");
    }

    #[test]
    fn an_array_counts_its_length_behind_the_padding() {
        let value = Value::Rates(vec![("/dev/block/8:0".into(), 9)]);
        let body = Body::default().properties([("P", &value)]);
        // Length, padding to 8, then: "P" (6 bytes), signature (7), padding, and the inner array.
        assert_eq!(u32::from_ne_bytes(body.bytes.0[..4].try_into().unwrap()) as usize, body.bytes.0.len() - 8);
        let empty = Body::default().no_units();
        assert_eq!(empty.bytes.0.len(), 8, "the padding is there without elements too");
        assert_eq!(empty.bytes.0[..4], [0; 4]);
    }

    #[test]
    fn what_is_cut_off_or_too_long_or_of_another_order_is_an_error_and_no_panic() {
        let bytes = call(Body::default().text("hello"));
        for end in FIXED..bytes.len() {
            let _ = Message::parse(&bytes[..end]);
        }
        let mut begin: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        begin[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Message::length(&begin).is_err());
        begin[0] = b'x';
        assert!(Message::length(&begin).is_err());
    }
}
