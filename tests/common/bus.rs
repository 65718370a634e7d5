//! A bus with a systemd on it, as far as a container needs one, for tests on machines without: it makes a unit's cgroup
//! where systemd would and says what it was asked. It can be told to misbehave. The bytes are read and written here by a
//! reading of the specification of its own.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What the bus does of what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// All.
    Works,
    /// It accepts, and says nothing.
    Mute,
    /// It answers the hello, and no call.
    NoAnswer,
    /// It answers calls, and starts no unit.
    NoJob,
    /// Its jobs fail, and it makes nothing.
    JobFails,
    /// It refuses every call.
    Refuses,
    /// It hangs up on a call.
    HangsUp,
    /// It answers with what is no message.
    Garbage,
    /// It tells of other jobs for ever, and answers nothing.
    Chatters,
    /// It answers, and tells of other jobs for ever.
    Digresses,
    /// It sends the answer a byte at a time, for ever.
    Dribbles,
    /// It does not let anybody listen to signals.
    Deaf,
    /// Another peer tells that the job has failed, in messages of either byte order, before it is done.
    Forged,
    /// A failed unit of the name is there until it is reset.
    FailedUnit,
    /// An active unit of the name is there.
    ActiveUnit,
}

/// The bus; it ends with the test's process.
pub struct FakeBus {
    pub path: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl FakeBus {
    /// A bus that listens in this directory.
    pub fn start(directory: &Path, manner: Manner) -> Self {
        let path = directory.join("bus");
        let listener = UnixListener::bind(&path).expect("listen as a bus");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            // A failed unit is reset once, on whatever connection.
            let failed = Arc::new(Mutex::new(manner == Manner::FailedUnit));
            for stream in listener.incoming() {
                let (Ok(stream), seen, failed) = (stream, Arc::clone(&shared), Arc::clone(&failed)) else { return };
                std::thread::spawn(move || Client { stream, manner, seen, failed }.serve());
            }
        });
        Self { path, seen }
    }

    /// For DBUS_SYSTEM_BUS_ADDRESS.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.path.display())
    }

    /// The methods that were called since the last look, a unit's name behind those that have one.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("the list"))
    }
}

struct Client {
    stream: UnixStream,
    manner: Manner,
    seen: Arc<Mutex<Vec<String>>>,
    failed: Arc<Mutex<bool>>,
}

impl Client {
    fn serve(mut self) -> Option<()> {
        let mut line = Vec::new();
        // The lines of the authentication, of which there may be more behind each other, up to BEGIN.
        while !line.ends_with(b"BEGIN\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        if self.manner == Manner::Mute {
            // Until the other end is tired of it.
            let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
            return None;
        }
        self.stream.write_all(b"DATA\r\nOK 00000000000000000000000000000000\r\n").ok()?;
        loop {
            let (serial, member, body) = self.receive()?;
            self.answer(serial, &member, &body)?;
        }
    }

    fn receive(&mut self) -> Option<(u32, String, Vec<u8>)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).ok()?;
        let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (length, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
        let mut rest = vec![0; (16 + fields).next_multiple_of(8) - 16 + length];
        self.stream.read_exact(&mut rest).ok()?;
        let mut whole = head.to_vec();
        whole.extend(rest);
        let mut reader = In { bytes: &whole, at: 16 };
        let mut member = String::new();
        while reader.at < 16 + fields {
            reader.align(8);
            let code = reader.byte();
            let kind = reader.signature();
            let text = if kind == "g" { reader.signature() } else { reader.text() };
            if code == 3 {
                member = text;
            }
        }
        Some((serial, member, whole.split_off(whole.len() - length)))
    }

    fn answer(&mut self, serial: u32, member: &str, body: &[u8]) -> Option<()> {
        let mut reader = In { bytes: body, at: 0 };
        let is_units = ["StartTransientUnit", "StopUnit", "ResetFailedUnit", "SetUnitProperties"].contains(&member);
        let unit = if is_units { reader.text() } else { String::new() };
        self.seen.lock().expect("the list").push(format!("{member} {unit}").trim().to_owned());
        if member == "AddMatch" && self.manner == Manner::Deaf {
            return self.refuse(serial, "org.freedesktop.DBus.Error.LimitsExceeded", "no, thank you");
        }
        if member == "Hello" || member == "AddMatch" {
            return self.reply(serial, 's', ":1.1");
        }
        match self.manner {
            Manner::NoAnswer => return Some(()),
            Manner::HangsUp => return None,
            Manner::Chatters => return self.chatter(),
            Manner::Dribbles => return self.dribble(),
            Manner::Garbage => return self.stream.write_all(&[0x55; 64]).ok(),
            Manner::Refuses => return self.refuse(serial, "org.freedesktop.DBus.Error.AccessDenied", "no, thank you"),
            Manner::FailedUnit if member == "ResetFailedUnit" => *self.failed.lock().expect("a flag") = false,
            Manner::ActiveUnit if member == "StartTransientUnit" => return self.exists(serial, &unit),
            Manner::FailedUnit if member == "StartTransientUnit" && *self.failed.lock().expect("a flag") => {
                return self.exists(serial, &unit);
            }
            _ => {}
        }
        match member {
            "StartTransientUnit" => {
                let _mode = reader.text();
                let (slice, pid) = read_properties(&mut reader);
                let works = ![Manner::JobFails, Manner::NoJob, Manner::Digresses].contains(&self.manner);
                if works {
                    let dir = home().join(expand(&slice)).join(&unit);
                    std::fs::create_dir_all(&dir).expect("make a unit's cgroup");
                    std::fs::write(dir.join("cgroup.procs"), pid.to_string()).expect("move a unit's process");
                }
                self.reply(serial, 'o', "/job/1")?;
                match self.manner {
                    Manner::NoJob => Some(()),
                    Manner::Digresses => self.chatter(),
                    Manner::Forged => {
                        self.forge(&unit)?;
                        self.end_of_job(&unit, "done")
                    }
                    _ => self.end_of_job(&unit, if works { "done" } else { "failed" }),
                }
            }
            "StopUnit" => {
                let Some(dir) = find(&home(), &unit) else {
                    return self.refuse(serial, "org.freedesktop.systemd1.NoSuchUnit", "Unit not loaded.");
                };
                let _ = std::fs::remove_dir(dir);
                self.reply(serial, 'o', "/job/2")?;
                self.signal("/job/2", &unit, "done")
            }
            _ => self.reply(serial, ' ', ""),
        }
    }

    /// Until nobody listens.
    fn chatter(&mut self) -> Option<()> {
        let (fields, body) = (signal_fields(SENDER), job_removed("/job/0", "other.service", "done"));
        // Many at a time, so that there always is one more.
        let many = message(4, &fields, &body).repeat(1000);
        loop {
            self.stream.write_all(&many).ok()?;
        }
    }

    /// A whole message never comes: its length is that of more bytes than there is time for.
    fn dribble(&mut self) -> Option<()> {
        let order = if cfg!(target_endian = "little") { b'l' } else { b'B' };
        self.stream.write_all(&[order, 2, 0, 1]).ok()?;
        self.stream.write_all(&(1u32 << 20).to_ne_bytes()).ok()?;
        loop {
            self.stream.write_all(&[0]).ok()?;
        }
    }

    fn forge(&mut self, unit: &str) -> Option<()> {
        self.signal_of(":1.66", "/job/1", unit, "failed")?;
        let other = if cfg!(target_endian = "little") { b'B' } else { b'l' };
        let length = 8u32.swap_bytes().to_ne_bytes();
        let head = [&[other, 4, 0, 1][..], &length, &1u32.swap_bytes().to_ne_bytes(), &[0; 4], &[0; 8]].concat();
        self.stream.write_all(&head).ok()
    }

    fn exists(&mut self, serial: u32, unit: &str) -> Option<()> {
        self.refuse(serial, "org.freedesktop.systemd1.UnitExists", &format!("Unit {unit} was already loaded"))
    }

    fn end_of_job(&mut self, unit: &str, result: &str) -> Option<()> {
        // Somebody else's job ends meanwhile.
        self.signal("/job/0", "other.service", "failed")?;
        self.signal("/job/1", unit, result)
    }

    fn reply(&mut self, serial: u32, kind: char, text: &str) -> Option<()> {
        let mut body = Out::default();
        if kind != ' ' {
            body.text(text);
        }
        let kind = kind.to_string();
        self.send(2, &[(5, 'u', &serial.to_string()), (7, 's', SENDER), (8, 'g', kind.trim())], &body)
    }

    fn refuse(&mut self, serial: u32, name: &str, words: &str) -> Option<()> {
        let mut body = Out::default();
        body.text(words);
        self.send(3, &[(4, 's', name), (5, 'u', &serial.to_string()), (8, 'g', "s")], &body)
    }

    fn signal(&mut self, job: &str, unit: &str, result: &str) -> Option<()> {
        self.signal_of(SENDER, job, unit, result)
    }

    fn signal_of(&mut self, sender: &str, job: &str, unit: &str, result: &str) -> Option<()> {
        self.send(4, &signal_fields(sender), &job_removed(job, unit, result))
    }

    fn send(&mut self, kind: u8, fields: &[(u8, char, &str)], body: &Out) -> Option<()> {
        self.stream.write_all(&message(kind, fields, body)).ok()
    }
}

fn signal_fields(sender: &str) -> [(u8, char, &str); 4] {
    [(1, 'o', "/org/freedesktop/systemd1"), (3, 's', "JobRemoved"), (7, 's', sender), (8, 'g', "uoss")]
}

fn job_removed(job: &str, unit: &str, result: &str) -> Out {
    let mut body = Out::default();
    body.number(1);
    [job, unit, result].iter().for_each(|text| body.text(text));
    body
}

fn message(kind: u8, fields: &[(u8, char, &str)], body: &Out) -> Vec<u8> {
    let mut out = Out(vec![if cfg!(target_endian = "little") { b'l' } else { b'B' }, kind, 0, 1]);
    out.number(body.0.len() as u32);
    out.number(1);
    out.number(0);
    for (code, kind, text) in fields.iter().filter(|(_, _, text)| !text.is_empty()) {
        out.align(8);
        out.0.push(*code);
        out.signature(&kind.to_string());
        match kind {
            'u' => out.number(text.parse().expect("a number")),
            'g' => out.signature(text),
            _ => out.text(text),
        }
    }
    let length = (out.0.len() - 16) as u32;
    out.0[12..16].copy_from_slice(&length.to_ne_bytes());
    out.align(8);
    out.0.extend(&body.0);
    out.0
}

/// The name that a bus gives the manager's connection.
const SENDER: &str = ":1.0";

/// The hierarchy by which systemd knows processes.
fn home() -> PathBuf {
    let named = PathBuf::from("/sys/fs/cgroup/systemd");
    if named.exists() { named } else { "/sys/fs/cgroup".into() }
}

fn expand(slice: &str) -> PathBuf {
    let name = slice.trim_end_matches(".slice");
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| format!("{}.slice", &name[..end])).collect()
}

fn find(dir: &Path, unit: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let dirs: Vec<_> = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect();
    let here = dirs.iter().find(|entry| entry.file_name() == unit).map(std::fs::DirEntry::path);
    here.or_else(|| {
        let slices = dirs.iter().filter(|entry| entry.file_name().to_string_lossy().ends_with(".slice"));
        slices.map(std::fs::DirEntry::path).find_map(|slice| find(&slice, unit))
    })
}

/// The slice and the process.
fn read_properties(reader: &mut In) -> (String, u32) {
    let (mut slice, mut pid) = (String::new(), 0);
    let length = reader.number() as usize;
    reader.align(8);
    let end = reader.at + length;
    while reader.at < end {
        reader.align(8);
        let name = reader.text();
        match reader.signature().as_str() {
            "s" => {
                let text = reader.text();
                if name == "Slice" {
                    slice = text;
                }
            }
            "b" | "i" => drop(reader.number()),
            "t" => {
                reader.align(8);
                reader.at += 8;
            }
            array => {
                let length = reader.number() as usize;
                if array.starts_with("a(") || array == "at" {
                    reader.align(8);
                }
                let end = reader.at + length;
                if array == "au" {
                    pid = reader.number();
                }
                reader.at = end;
            }
        }
    }
    (slice, pid)
}

struct In<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl In<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    fn number(&mut self) -> u32 {
        self.align(4);
        self.at += 4;
        u32::from_ne_bytes(self.bytes[self.at - 4..self.at].try_into().expect("four bytes"))
    }

    fn text(&mut self) -> String {
        let length = self.number() as usize;
        self.at += length + 1;
        String::from_utf8(self.bytes[self.at - length - 1..self.at - 1].to_vec()).expect("text")
    }

    fn signature(&mut self) -> String {
        let length = self.byte() as usize;
        self.at += length + 1;
        String::from_utf8(self.bytes[self.at - length - 1..self.at - 1].to_vec()).expect("text")
    }
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }
}
