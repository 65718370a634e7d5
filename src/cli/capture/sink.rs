//! What becomes of captured packets: a file of pcapng, or lines.

use std::time::Duration;

use super::output::Output;
use crate::network::capture::{Counts, Interface, Packet, Sink, line, pcapng};
use crate::{Error, Result, sys};

/// A sink that has an end.
pub(super) trait Recorder: Sink {
    /// What was counted on each interface, at this time.
    fn finish(&mut self, counts: &[Counts], time: Duration) -> Result<()>;
    /// As what a capture takes.
    fn as_sink(&mut self) -> &mut dyn Sink;
}

/// A file of pcapng. What is written are whole blocks.
pub(super) struct File<'a> {
    output: &'a Output<'a>,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    /// Writes its head, which tells a reader that there is somebody.
    pub fn begin(output: &'a Output<'a>, of: &str, interfaces: &[Interface], filter: &str, snap: u32) -> Result<Self> {
        if output.is_terminal() {
            return Err(Error::invalid(
                "--write -: stdout is a terminal, and packets are not text: name a file or a pipe",
            ));
        }
        let mut bytes = Vec::new();
        pcapng::put_head(&mut bytes, of, interfaces, filter, snap)?;
        let mut file = Self { output, bytes };
        file.flush()?;
        Ok(file)
    }
}

impl Sink for File<'_> {
    fn packet(&mut self, packet: &Packet) -> Result<()> {
        pcapng::put_packet(&mut self.bytes, packet)
    }

    fn flush(&mut self) -> Result<bool> {
        let written = self.output.write(&self.bytes);
        self.bytes.clear();
        written
    }
}

impl Recorder for File<'_> {
    fn finish(&mut self, counts: &[Counts], time: Duration) -> Result<()> {
        pcapng::put_counts(&mut self.bytes, counts, time)?;
        self.flush().map(drop)
    }

    fn as_sink(&mut self) -> &mut dyn Sink {
        self
    }
}

/// A line a packet.
pub(super) struct Lines<'a> {
    output: &'a Output<'a>,
    /// The interfaces' names, where there are several.
    names: Vec<String>,
    text: String,
}

impl<'a> Lines<'a> {
    pub fn of(output: &'a Output<'a>, interfaces: &[Interface]) -> Self {
        let several = if interfaces.len() > 1 { interfaces } else { &[] };
        let names = several.iter().map(|interface| interface.name.clone()).collect();
        Self { output, names, text: String::new() }
    }
}

impl Sink for Lines<'_> {
    fn packet(&mut self, packet: &Packet) -> Result<()> {
        let name = self.names.get(packet.interface).map(String::as_str);
        let line = line::describe(packet, name);
        self.text.push_str(&format!("{} {line}\n", time_of_day(packet.time)));
        Ok(())
    }

    fn flush(&mut self) -> Result<bool> {
        let written = self.output.write(self.text.as_bytes());
        self.text.clear();
        written
    }
}

impl Recorder for Lines<'_> {
    fn finish(&mut self, _: &[Counts], _: Duration) -> Result<()> {
        Ok(())
    }

    fn as_sink(&mut self) -> &mut dyn Sink {
        self
    }
}

/// The machine's own time, to the microsecond.
fn time_of_day(time: Duration) -> String {
    let (hours, minutes, seconds) = sys::time::of_day(time.as_secs() as i64).unwrap_or_default();
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:06}", time.subsec_micros())
}
