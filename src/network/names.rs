//! Names of containers: the text of /etc/hosts, /etc/hostname and /etc/resolv.conf, and keeping the first current while the
//! containers of a network come and go. hosts(5), resolv.conf(5).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::net::IpAddr;
use std::path::Path;

use super::attachment::Attachment;
use super::definition::NetworkName;
use super::request::Dns;
use crate::{Context, Result};

/// What every /etc/hosts begins with.
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
/// The most bytes of a hosts file that are read: what a container writes into it is its own business.
const MOST: u64 = 1 << 20;

/// The lines of a container's own: localhost, its names at each of its addresses, and those that it asks for.
pub fn own_hosts(names: &[String], addresses: &[IpAddr], more: &[(String, IpAddr)]) -> String {
    let mut text = LOCAL.to_owned();
    if !names.is_empty() {
        for address in addresses {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
    }
    for (name, address) in more {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The lines of a network in a container's /etc/hosts: the other containers there.
fn section(network: &NetworkName, own: &str, all: &[Attachment]) -> String {
    let mut lines = String::new();
    for other in all.iter().filter(|other| other.container != own && !other.names.is_empty()) {
        for address in &other.addresses {
            let _ = writeln!(lines, "{}\t{}", address.addr(), other.names.join(" "));
        }
    }
    if lines.is_empty() { lines } else { format!("{}{lines}{}", begin(network), end(network)) }
}

fn begin(network: &NetworkName) -> String {
    format!("# network {network}, kept by nfrun\n")
}

fn end(network: &NetworkName) -> String {
    format!("# end of network {network}\n")
}

/// A hosts file with another section of a network; what else is in it stays as it is.
fn replace(text: &str, network: &NetworkName, section: &str) -> String {
    let (begin, end) = (begin(network), end(network));
    let found = text.find(&begin).and_then(|from| {
        let length = text[from..].find(&end)? + end.len();
        Some((from, from + length))
    });
    match found {
        Some((from, to)) => format!("{}{section}{}", &text[..from], &text[to..]),
        None if text.is_empty() || text.ends_with('\n') => format!("{text}{section}"),
        None => format!("{text}\n{section}"),
    }
}

/// Tells every container of a network who is there. A container that is going takes its file with it, and a file that
/// cannot be written keeps nobody else's from it: the first error comes back after all were tried.
pub fn tell(network: &NetworkName, all: &[Attachment]) -> Result<()> {
    let mut outcome = Ok(());
    for attachment in all {
        let Some(path) = &attachment.hosts else { continue };
        let section = section(network, &attachment.container, all);
        outcome = outcome.and(rewrite(path, |text| replace(text, network, &section)));
    }
    outcome
}

/// Takes a network out of the hosts file of a container that has left it.
pub fn forget(network: &NetworkName, hosts: &Path) -> Result<()> {
    rewrite(hosts, |text| replace(text, network, ""))
}

/// Changes a file in its place: it is mounted in a container, so another of its name would not be seen there.
fn rewrite(path: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let attempt = || -> Result<()> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            other => other?,
        };
        let mut old = Vec::new();
        (&file).take(MOST).read_to_end(&mut old)?;
        // A container may have written what is no text.
        let old = String::from_utf8_lossy(&old);
        let new = change(&old);
        if new == old {
            return Ok(());
        }
        file.seek(SeekFrom::Start(0))?;
        // In one write, and cut afterwards, so that a reader finds lines that are whole.
        file.write_all(new.as_bytes())?;
        Ok(file.set_len(new.len() as u64)?)
    };
    attempt().context(|| format!("write {}", path.display()))
}

/// The text of a resolv.conf.
pub fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.search.is_empty() {
        let _ = writeln!(text, "search {}", dns.search.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

/// The host's way of resolving names as a container can use it: its loopback addresses lead nowhere there. Where they are a
/// stub of systemd-resolved's, those that it asks itself.
pub fn hosts_dns() -> Dns {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default();
    let mut dns = read("/etc/resolv.conf");
    if dns.servers.iter().all(IpAddr::is_loopback) && !dns.servers.is_empty() {
        dns = read("/run/systemd/resolve/resolv.conf");
    }
    dns.servers.retain(|server| !server.is_loopback());
    dns
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            // The last line of these counts: resolv.conf(5).
            Some("search" | "domain") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            // An address of the link alone names an interface that the container has not.
            Some("nameserver") => dns.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str, address: &str) -> Attachment {
        let json = format!(
            r#"{{"network":"n","container":"{container}","root":"/r","interface":"eth0","addresses":["{address}"],"names":["{container}","{container}-alias"]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_networks_section_comes_changes_and_goes_and_leaves_the_rest() {
        let network: NetworkName = "n".parse().unwrap();
        let directory = std::env::temp_dir().join(format!("nfrun-names-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("hosts");
        let own =
            own_hosts(&["a".into()], &["10.0.0.2".parse().unwrap()], &[("x".into(), "192.0.2.1".parse().unwrap())]);
        std::fs::write(&path, format!("{own}10.9.9.9 mine")).unwrap();
        let mut all = vec![attachment("a", "10.0.0.2/24"), attachment("b", "10.0.0.3/24")];
        all[0].hosts = Some(path.clone());
        tell(&network, &all).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(LOCAL) && text.contains("10.0.0.2\ta\n192.0.2.1\tx\n10.9.9.9 mine\n"), "{text}");
        assert!(text.contains("# network n, kept by nfrun\n10.0.0.3\tb b-alias\n# end of network n\n"), "{text}");
        all.push(attachment("c", "10.0.0.4/24"));
        tell(&network, &all).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("10.0.0.3\tb b-alias\n10.0.0.4\tc c-alias\n"));
        all.truncate(1);
        tell(&network, &all).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{own}10.9.9.9 mine\n"));
        std::fs::remove_dir_all(&directory).unwrap();
        tell(&network, &all).unwrap();
    }

    #[test]
    fn a_resolv_conf_is_read_and_written() {
        let dns =
            parse("# c\ndomain a\nsearch b c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions ndots:2 edns0\n");
        assert_eq!(resolv_conf(&dns), "search b c\nnameserver 192.0.2.1\noptions ndots:2 edns0\n");
    }
}
