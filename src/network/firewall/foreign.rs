//! Filters of others. A packet that our table lets pass may still be dropped by another's chain: docker's FORWARD of
//! iptables-nft has the policy drop, firewalld's and many an administrator's ends in a reject. At the head of each such
//! chain go two rules a zone, which accept what comes in and what leaves by its interface; they are known by their
//! comment. What is let pass by that is for our own table to say (`guarded_in`, `guarded_out`), which comes before.
//!
//! The rules are of the plainest kind, since the `iptables` program refuses a whole table for one expression that it does
//! not know.

use super::Zone;
use super::expression::{Rule, Verdict};
use super::numbers::{self, chain, rule, table};
use super::wire::{self, NAME};
use crate::network::link;
use crate::network::netlink::{Message, Request, Socket, attribute};
use crate::network::route;
use crate::{Context, Error, Result};

/// struct nfgenmsg.
const HEAD: usize = 4;

/// A chain that forwarded packets come to, in a table that is not ours.
#[derive(Debug)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    /// Whether it drops what no rule of it speaks of.
    drops: bool,
    /// Our rules in it.
    ours: Vec<Ours>,
}

#[derive(Debug)]
struct Ours {
    handle: Vec<u8>,
    incoming: bool,
    interface: String,
}

/// What was found of others.
#[derive(Debug, Default)]
pub struct Foreign {
    chains: Vec<Chain>,
    /// The interfaces of the host's default routes, where that matters.
    pub uplinks: Vec<String>,
}

/// Looks for chains of others that forwarded packets come to.
pub fn look(socket: &Socket) -> Result<Foreign> {
    let mut chains = chains(socket)?;
    if chains.is_empty() {
        return Ok(Foreign::default());
    }
    for chain in &mut chains {
        look_at_rules(socket, chain)?;
    }
    let owned = owned_tables(socket)?;
    chains.retain(|chain| {
        let kept = owned.iter().any(|(family, name)| *family == chain.family && *name == chain.table);
        if kept && chain.drops {
            log::warn!(
                "packet filter: chain {} of table {}, which only its owner can change, may drop what is forwarded; let it \
                 accept the interfaces of networks (firewalld: firewall-cmd --permanent --zone=trusted --add-interface=NAME)",
                chain.name,
                chain.table
            );
        }
        !kept
    });
    let uplinks = if chains.iter().any(|chain| chain.drops) { uplinks()? } else { Vec::new() };
    Ok(Foreign { chains, uplinks })
}

fn chains(socket: &Socket) -> Result<Vec<Chain>> {
    let mut found = Vec::new();
    let make = || wire::message(libc::NFPROTO_UNSPEC as u8, libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP);
    let dumped = socket.dump(make, |message| {
        match message {
            Some(message) => found.extend(read_chain(message)?),
            None => found.clear(),
        }
        Ok(())
    });
    dumped.context(|| "list the packet filter's chains")?;
    Ok(found)
}

/// Attributes: kind and value.
type Attributes<'a> = Vec<(u16, &'a [u8])>;

/// A message's family and attributes.
fn parts<'a>(message: &'a Message) -> Result<(u8, Attributes<'a>)> {
    let (header, attributes) =
        message.body.split_first_chunk::<HEAD>().ok_or_else(|| Error::new("netlink: a message is too short"))?;
    Ok((header[0], attribute::parse(attributes)?))
}

/// The chain, where forwarded packets of IP come to it and it is not ours.
fn read_chain(message: &Message) -> Result<Option<Chain>> {
    let (family, attributes) = parts(message)?;
    let (mut hook, mut policy, mut kind) = (None, libc::NF_ACCEPT as u32, String::new());
    let mut found = Chain { family, table: String::new(), name: String::new(), drops: false, ours: Vec::new() };
    for (attribute, value) in attributes {
        match attribute {
            chain::TABLE => found.table = attribute::text(value),
            chain::NAME => found.name = attribute::text(value),
            chain::POLICY => policy = attribute::big_number(value)?,
            chain::TYPE => kind = attribute::text(value),
            chain::HOOK => {
                let number = attribute::parse(value)?.into_iter().find(|(kind, _)| *kind == chain::HOOK_NUMBER);
                hook = number.map(|(_, number)| attribute::big_number(number)).transpose()?;
            }
            _ => {}
        }
    }
    found.drops = policy == libc::NF_DROP as u32;
    let of_ip = [libc::NFPROTO_INET, libc::NFPROTO_IPV4, libc::NFPROTO_IPV6].contains(&i32::from(family));
    let forwards = hook == Some(libc::NF_INET_FORWARD as u32) && kind == "filter";
    Ok((of_ip && forwards && found.table != NAME).then_some(found))
}

/// Tables that nobody but the program that made them can change: NFT_TABLE_F_OWNER.
fn owned_tables(socket: &Socket) -> Result<Vec<(u8, String)>> {
    let mut found = Vec::new();
    let make = || wire::message(libc::NFPROTO_UNSPEC as u8, libc::NFT_MSG_GETTABLE, libc::NLM_F_DUMP);
    let dumped = socket.dump(make, |message| {
        let Some(message) = message else {
            found.clear();
            return Ok(());
        };
        let (family, attributes) = parts(message)?;
        let (mut name, mut flags) = (String::new(), 0);
        for (attribute, value) in attributes {
            match attribute {
                table::NAME => name = attribute::text(value),
                table::FLAGS => flags = attribute::big_number(value)?,
                _ => {}
            }
        }
        if flags & table::OWNED != 0 {
            found.push((family, name));
        }
        Ok(())
    });
    dumped.context(|| "list the packet filter's tables")?;
    Ok(found)
}

/// Finds our rules in a chain, and whether its last rule drops whatever is left.
fn look_at_rules(socket: &Socket, chain: &mut Chain) -> Result<()> {
    let (policy, mut last) = (chain.drops, false);
    let make = || {
        let mut request = wire::message(chain.family, libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP);
        request.text(rule::TABLE, &chain.table)?;
        request.text(rule::CHAIN, &chain.name)?;
        Ok(request)
    };
    let mut ours = Vec::new();
    let dumped = socket.try_dump(make, |message| {
        let Some(message) = message else {
            ours.clear();
            last = false;
            return Ok(());
        };
        let found = read_rule(parts(message)?.1)?;
        // Kernels before 4.20 give the rules of all chains.
        if found.chain != chain.name || found.table != chain.table {
            return Ok(());
        }
        match found.ours {
            Some(rule) => ours.push(rule),
            None => last = found.drops_all,
        }
        Ok(())
    });
    dumped.context(|| format!("list the rules of chain {} of table {}", chain.name, chain.table))?;
    (chain.ours, chain.drops) = (ours, policy || last);
    Ok(())
}

struct Found {
    table: String,
    chain: String,
    ours: Option<Ours>,
    drops_all: bool,
}

fn read_rule(attributes: Attributes) -> Result<Found> {
    let mut found = Found { table: String::new(), chain: String::new(), ours: None, drops_all: false };
    let (mut handle, mut marked, mut expressions) = (Vec::new(), false, Vec::new());
    for (attribute, value) in attributes {
        match attribute {
            rule::TABLE => found.table = attribute::text(value),
            rule::CHAIN => found.chain = attribute::text(value),
            rule::HANDLE => handle = value.to_vec(),
            rule::USERDATA => marked = wire::read_comment(value).as_deref() == Some(NAME),
            rule::EXPRESSIONS => {
                for (_, expression) in attribute::parse(value)? {
                    expressions.push(read_expression(expression)?);
                }
            }
            _ => {}
        }
    }
    if marked {
        found.ours = interface_of(&expressions).map(|(incoming, interface)| Ours { handle, incoming, interface });
    }
    found.drops_all = drops_all(&expressions);
    Ok(found)
}

struct Expression<'a> {
    name: String,
    attributes: Attributes<'a>,
}

impl Expression<'_> {
    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }
}

fn read_expression(bytes: &[u8]) -> Result<Expression<'_>> {
    let mut expression = Expression { name: String::new(), attributes: Vec::new() };
    for (kind, value) in attribute::parse(bytes)? {
        match kind {
            rule::EXPRESSION_NAME => expression.name = attribute::text(value),
            rule::EXPRESSION_DATA => expression.attributes = attribute::parse(value)?,
            _ => {}
        }
    }
    Ok(expression)
}

/// The direction and the interface of a rule of ours: `meta`, `cmp`, and the verdict.
fn interface_of(expressions: &[Expression]) -> Option<(bool, String)> {
    let [meta, compared, ..] = expressions else { return None };
    let key = attribute::big_number(meta.attribute(2)?).ok()?;
    let value = attribute::parse(compared.attribute(3)?).ok()?;
    let (_, name) = value.into_iter().find(|(kind, _)| *kind == numbers::data::VALUE)?;
    Some((key == libc::NFT_META_IIFNAME as u32, attribute::text(name)))
}

/// Whether a rule has no condition and drops or rejects.
fn drops_all(expressions: &[Expression]) -> bool {
    let mut drops = false;
    for expression in expressions {
        match expression.name.as_str() {
            "counter" | "log" => {}
            "reject" => drops = true,
            "immediate" => drops |= is_drop(expression),
            // Of iptables; xt_REJECT and the like.
            "target" => drops |= expression.attribute(1).map(attribute::text).is_some_and(|name| name == "REJECT"),
            _ => return false,
        }
    }
    drops
}

fn is_drop(immediate: &Expression) -> bool {
    let verdict = immediate.attribute(2).and_then(|data| attribute::parse(data).ok());
    let codes = verdict.into_iter().flatten().filter(|(kind, _)| *kind == numbers::data::VERDICT);
    let mut codes = codes.filter_map(|(_, verdict)| attribute::parse(verdict).ok()).flatten();
    codes.any(|(kind, code)| {
        kind == numbers::data::VERDICT_CODE
            && attribute::big_number(code).is_ok_and(|code| code == libc::NF_DROP as u32)
    })
}

fn uplinks() -> Result<Vec<String>> {
    let socket = Socket::open()?;
    let mut names = Vec::new();
    for address in route::ANYWHERE {
        let Some(way) = route::way_to(&socket, address)? else { continue };
        names.extend(link::by_index(&socket, way.index)?.map(|link| link.name).filter(|name| !names.contains(name)));
    }
    Ok(names)
}

impl Foreign {
    /// Whether a chain of another's would drop what our zones forward.
    pub fn drops(&self) -> bool {
        self.chains.iter().any(|chain| chain.drops)
    }

    /// Messages that put in what is missing for all zones that there are, and take out what is too much.
    pub fn meet(&self, zones: &[Zone]) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for chain in &self.chains {
            let mut needed: Vec<(bool, &str)> = Vec::new();
            for zone in zones.iter().filter(|_| chain.drops) {
                needed.extend([true, false].map(|incoming| (incoming, zone.interface.as_ref())));
            }
            for rule in &chain.ours {
                let wanted = needed
                    .iter()
                    .position(|(incoming, name)| (*incoming, *name) == (rule.incoming, rule.interface.as_str()));
                match wanted {
                    Some(at) => _ = needed.swap_remove(at),
                    None => requests.push(chain.remove(rule)?),
                }
            }
            requests.extend(chain.insert(&needed)?);
        }
        Ok(requests)
    }

    /// Messages that put in what one more zone needs.
    pub fn meet_one(&self, zone: &Zone) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        let name = zone.interface.as_ref();
        for chain in self.chains.iter().filter(|chain| chain.drops) {
            let has = |incoming| chain.ours.iter().any(|rule| rule.incoming == incoming && rule.interface == name);
            let needed: Vec<_> = [true, false].into_iter().filter(|way| !has(*way)).map(|way| (way, name)).collect();
            requests.extend(chain.insert(&needed)?);
        }
        Ok(requests)
    }

    /// Messages that take out what a zone had.
    pub fn leave(&self, zone: &Zone) -> Result<Vec<Request>> {
        let of_zone = |rule: &&Ours| rule.interface == zone.interface.as_ref();
        let rules =
            self.chains.iter().flat_map(|chain| chain.ours.iter().filter(of_zone).map(move |rule| (chain, rule)));
        rules.map(|(chain, rule)| chain.remove(rule)).collect()
    }
}

impl Chain {
    fn insert(&self, needed: &[(bool, &str)]) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for (incoming, name) in needed {
            let rule = if *incoming { Rule::new().incoming(name)? } else { Rule::new().outgoing(name)? };
            let rule = rule.verdict(&Verdict::Accept)?;
            requests.push(wire::insert_foreign(self.family, &self.table, &self.name, &rule)?);
        }
        if !needed.is_empty() {
            log::info!(
                "packet filter: chain {} of table {} drops what is forwarded; rules at its head let pass {}",
                self.name,
                self.table,
                needed.iter().filter(|(incoming, _)| *incoming).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
            );
        }
        Ok(requests)
    }

    fn remove(&self, rule: &Ours) -> Result<Request> {
        wire::remove_foreign(self.family, &self.table, &self.name, &rule.handle)
    }
}

/// Tells of a filter that cannot be met: one of the old iptables, which is in no table of nf_tables.
pub fn warn_of_legacy() {
    let names = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    for (file, command) in [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")] {
        if names(file).lines().any(|name| name == "filter") {
            log::warn!(
                "packet filter: rules of {command} are in use; where its chain FORWARD drops (see {command} -S FORWARD), \
                 let it accept the interfaces of networks"
            );
        }
    }
}
