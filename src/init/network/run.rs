//! The container's network.

use linux_raw_sys::errno::{EBADMSG, EINTR};

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::sys;

const SIOCETHTOOL: u32 = 0x8946;
/// NLMSG_ERROR: netlink(7).
const ERROR: u16 = 2;
/// NLMSGERR_ATTR_MSG: the kernel's own words.
const WORDS: u16 = 1;

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Send { request, .. } => send(request.0, context),
        Step::Offload { name, command, on, .. } => Ok(offload(name.0.to_bytes(), command, on)?),
    }
}

/// The socket is opened by the first step that needs it: only now is this process where its interfaces are.
fn send(request: &[u8], context: &mut Context) -> Result<(), Failure> {
    if context.route < 0 {
        context.route = sys::netlink_socket().during(Act::Open)?;
    }
    sys::send(context.route, request).during(Act::Send)?;
    let mut answer = [0; 4096];
    let length = loop {
        match sys::receive(context.route, &mut answer) {
            Err(errno) if errno == EINTR as i32 => {}
            other => break other?,
        }
    };
    let answer = answer.get(..length).unwrap_or_default();
    let half = |at: usize| answer.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    let errno = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (half(4), errno) {
        (ERROR, Some(0)) => Ok(()),
        (ERROR, Some(errno)) => {
            keep_words(answer, &mut context.detail);
            Err(errno.wrapping_neg().into())
        }
        _ => Err((EBADMSG as i32).into()),
    }
}

/// Behind an acknowledgement's errno and the request's head stand attributes, one of which are the kernel's words.
fn keep_words(answer: &[u8], detail: &mut [u8]) {
    let mut rest = answer.get(36..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let Some(value) = rest.get(4..length) else { return };
        if kind == WORDS && value.len() < detail.len() {
            detail[..value.len()].copy_from_slice(value);
            detail[value.len()] = 0;
            return;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// struct ifreq with a name: 16 bytes of it, then 24 of a union.
fn request(name: &[u8]) -> [u8; 40] {
    let mut request = [0; 40];
    let length = name.len().min(15);
    request[..length].copy_from_slice(&name[..length]);
    request
}

fn offload(name: &[u8], command: u32, on: bool) -> sys::Outcome {
    // struct ethtool_value: the command and its data; a pointer to it stands in the request.
    let value = [command, u32::from(on)];
    let mut request = request(name);
    request[16..24].copy_from_slice(&(value.as_ptr() as usize).to_ne_bytes());
    let socket = sys::any_socket()?;
    let outcome = sys::ioctl(socket, SIOCETHTOOL, request.as_ptr() as usize).map(drop);
    sys::close(socket);
    outcome
}
