//! A client that is connected: what it has sent, and what it has not taken yet.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use prost::Message;

use super::failure::Failure;
use super::messages::ttrpc::Response;
use super::wire::{Frame, Kind, Parser, frame};

/// How much of what a client does not read is kept before it is taken for dead, in bytes.
const PATIENCE: usize = 16 << 20;
/// How much is read of one client before another's turn comes, in bytes.
const TURN: usize = 256 << 10;

/// A connection, which never blocks.
pub struct Connection {
    socket: UnixStream,
    parser: Parser,
    output: Vec<u8>,
    sent: usize,
}

impl Connection {
    /// # Errors
    /// When the socket does not take the mode.
    pub fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, parser: Parser::default(), output: Vec::new(), sent: 0 })
    }

    /// What has come; whether more may come.
    pub fn receive(&mut self) -> (Vec<Frame>, bool) {
        let mut buffer = [0; 16 << 10];
        let mut frames = Vec::new();
        let mut read = 0;
        let open = loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => break false,
                Ok(length) => {
                    self.parser.feed(&buffer[..length]);
                    frames.extend(self.parser.by_ref());
                    read += length;
                    if read >= TURN || length < buffer.len() {
                        break true;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        (frames, open)
    }

    /// Answers a request; whether the client is still to be had.
    pub fn answer(&mut self, stream: u32, answer: Result<Vec<u8>, Failure>) -> bool {
        let response = match answer {
            Ok(payload) => Response { status: None, payload },
            Err(failure) => Response { status: Some(failure.status()), payload: Vec::new() },
        };
        self.send(&frame(stream, Kind::Response, &response.encode_to_vec()))
    }

    /// Sends a frame; whether the other side is still to be had.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.output.extend_from_slice(bytes);
        self.flush()
    }

    /// Sends what it now takes; whether it is still to be had.
    pub fn flush(&mut self) -> bool {
        while self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return self.output.len() - self.sent <= PATIENCE;
                }
                Err(_) => return false,
            }
        }
        (self.output, self.sent) = (Vec::new(), 0);
        true
    }

    /// Whether it has not taken all yet.
    pub fn is_behind(&self) -> bool {
        !self.output.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
