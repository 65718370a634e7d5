//! ttrpc's frames: ten bytes of a header, then a message. Length and stream are big-endian: ttrpc, PROTOCOL.md.

/// The longest message that either side takes, in bytes.
const LONGEST: usize = 4 << 20;
const HEAD: usize = 10;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request = 1,
    Response = 2,
}

/// A frame that has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// One with its message.
    Whole { stream: u32, kind: u8, message: Vec<u8> },
    /// One that was too long, and is passed over.
    TooLong { stream: u32, length: usize },
}

/// A frame as bytes.
pub fn frame(stream: u32, kind: Kind, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + message.len());
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind as u8, 0]);
    bytes.extend_from_slice(message);
    bytes
}

/// Takes a stream of bytes apart.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// How many bytes of a message that is too long are still to come.
    skip: usize,
}

impl Parser {
    /// Takes what has come.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        self.bytes.extend_from_slice(bytes);
    }
}

impl Iterator for Parser {
    type Item = Frame;

    /// The next frame, if all of it is here.
    fn next(&mut self) -> Option<Frame> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_first_chunk::<4>()?;
        let kind = *rest.first()?;
        let (length, stream) = (u32::from_be_bytes(*length) as usize, u32::from_be_bytes(*stream));
        if length > LONGEST {
            let here = self.bytes.len().min(HEAD + length);
            if self.bytes.len() < HEAD {
                return None;
            }
            self.skip = HEAD + length - here;
            self.bytes.drain(..here);
            return Some(Frame::TooLong { stream, length });
        }
        let message = self.bytes.get(HEAD..HEAD + length)?.to_vec();
        self.bytes.drain(..HEAD + length);
        // A large message leaves no memory behind.
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Some(Frame::Whole { stream, kind, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [frame(1, Kind::Request, b"one"), frame(3, Kind::Response, b"")].concat();
        let whole =
            |stream, kind: Kind, message: &[u8]| Frame::Whole { stream, kind: kind as u8, message: message.to_vec() };
        for cut in 0..bytes.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                parser.feed(part);
                found.extend(parser.by_ref());
            }
            assert_eq!(found, [whole(1, Kind::Request, b"one"), whole(3, Kind::Response, b"")], "{cut}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over() {
        let mut parser = Parser::default();
        let length = LONGEST + 1;
        let mut bytes = frame(5, Kind::Request, b"");
        bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
        parser.feed(&bytes);
        parser.feed(&[7; 100]);
        assert_eq!(parser.next(), Some(Frame::TooLong { stream: 5, length }));
        parser.feed(&vec![7; length - 100]);
        assert_eq!(parser.next(), None);
        parser.feed(&frame(7, Kind::Request, b"x"));
        assert!(matches!(parser.next(), Some(Frame::Whole { stream: 7, .. })));
    }
}
