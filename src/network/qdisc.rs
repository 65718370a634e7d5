//! Limits of speed: the token bucket filter, tc-tbf(8), as a request to rtnetlink(7).

use super::netlink::{Request, attribute};
use super::request::Bits;
use crate::Result;

/// TC_H_ROOT: what sends for the whole interface.
const ROOT: u32 = 0xffff_ffff;
/// 1:0.
const HANDLE: u32 = 0x0001_0000;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// TC_LINKLAYER_ETHERNET: with it the kernel computes times itself, where it would else want a table.
const ETHERNET: u8 = 1;
/// How long a packet waits at most, as a fraction of a second.
const PATIENCE: u64 = 20;
/// The least that is sent at once, in bytes: a segment as an offloading interface gets it.
const LEAST_BURST: u64 = 64 << 10;

/// RTM_NEWQDISC: what the interface sends is held to so many bits a second.
pub fn limit(index: u32, rate: Bits) -> Result<Request> {
    let bytes = rate.0 / 8;
    // What the timer cannot meter any finer: ten milliseconds of it.
    let burst = (bytes / 100).clamp(LEAST_BURST, u64::from(u32::MAX / 4));
    let queue = (bytes / PATIENCE + burst).min(u64::from(u32::MAX));
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWQDISC, flags, &header);
    request.text(TCA_KIND, "tbf")?;
    // struct tc_tbf_qopt: struct tc_ratespec twice (cell_log, linklayer, overhead, cell_align, mpu, rate), limit, buffer, mtu.
    let mut parameters = [0; 36];
    parameters[1] = ETHERNET;
    parameters[8..12].copy_from_slice(&(bytes.min(u64::from(u32::MAX)) as u32).to_ne_bytes());
    parameters[24..28].copy_from_slice(&(queue as u32).to_ne_bytes());
    let mut options = Vec::new();
    attribute::put(&mut options, TCA_TBF_PARMS, &parameters)?;
    attribute::put(&mut options, TCA_TBF_BURST, &(burst as u32).to_ne_bytes())?;
    if bytes > u64::from(u32::MAX) {
        attribute::put(&mut options, TCA_TBF_RATE64, &bytes.to_ne_bytes())?;
    }
    request.attribute(TCA_OPTIONS | libc::NLA_F_NESTED as u16, &options)?;
    Ok(request)
}
