//! Which nsqds are listed, over several nsqlookupds. Pure.
//!
//! Each nsqlookupd's last **valid** answer stands until its next valid one. So an nsqd is listed while any of them has it, and delisted when every one that had it gave a valid answer
//! without it. An nsqlookupd that fails says nothing, in either direction.

use std::collections::BTreeMap;

use super::Node;

/// The last valid answer of each nsqlookupd.
#[derive(Debug, Clone)]
pub struct Listing {
    answers: Vec<BTreeMap<String, Node>>,
}

/// What one answer changed, over all nsqlookupds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingChange {
    /// Nodes that nobody listed before.
    pub listed: Vec<Node>,
    /// Nodes that nobody lists any more: not to be dialled again once their connection ends.
    pub delisted: Vec<Node>,
}

impl Listing {
    /// For this many nsqlookupds, none of which has answered.
    pub fn new(lookupds: usize) -> Listing {
        Listing { answers: vec![BTreeMap::new(); lookupds] }
    }

    /// Puts a **valid** answer (an empty one is) in the place of that nsqlookupd's last. A failure is not recorded at all.
    ///
    /// # Panics
    /// When `lookupd` is not below the count given to [`Listing::new`].
    pub fn record(&mut self, lookupd: usize, nodes: Vec<Node>) -> ListingChange {
        let new: BTreeMap<String, Node> = nodes.into_iter().map(|node| (node.address(), node)).collect();
        let unseen = |listing: &Listing, nodes: &BTreeMap<String, Node>| {
            nodes
                .iter()
                .filter(|(address, _)| !listing.contains(address))
                .map(|(_, node)| node.clone())
                .collect()
        };
        let listed = unseen(self, &new);
        let old = std::mem::replace(&mut self.answers[lookupd], new);
        let delisted = unseen(self, &old);
        ListingChange { listed, delisted }
    }

    /// Whether any nsqlookupd lists `address` (as [`Node::address`] has it), and so whether it is to be dialled.
    pub fn contains(&self, address: &str) -> bool {
        self.answers.iter().any(|answer| answer.contains_key(address))
    }

    /// Every node listed, each once.
    #[cfg(test)]
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let earlier = |before: usize, address: &String| {
            self.answers[..before].iter().any(|answer| answer.contains_key(address))
        };
        let listed = self.answers.iter().enumerate();
        listed.flat_map(move |(i, answer)| {
            answer.iter().filter(move |(address, _)| !earlier(i, address)).map(|(_, node)| node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(addresses: &[&str]) -> Vec<Node> {
        let node = |address: &&str| Node {
            broadcast_address: (*address).to_owned(),
            tcp_port: 4150,
            ..Node::default()
        };
        addresses.iter().map(node).collect()
    }

    fn names(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().map(|node| node.broadcast_address.as_str()).collect()
    }

    #[test]
    fn a_node_is_listed_once_however_many_list_it() {
        let mut listing = Listing::new(2);
        assert_eq!(names(&listing.record(0, nodes(&["a", "b"])).listed), ["a", "b"]);
        assert_eq!(names(&listing.record(1, nodes(&["b", "c"])).listed), ["c"]);
        let listed: Vec<Node> = listing.nodes().cloned().collect();
        assert_eq!(names(&listed), ["a", "b", "c"]);
    }

    #[test]
    fn a_node_is_delisted_when_every_one_that_had_it_answers_without_it() {
        let mut listing = Listing::new(3);
        listing.record(0, nodes(&["a"]));
        listing.record(1, nodes(&["a"]));
        // The third never answered, and so never had it.
        assert_eq!(listing.record(0, nodes(&[])), ListingChange::default());
        assert!(listing.contains("a:4150"));
        assert_eq!(names(&listing.record(1, nodes(&[])).delisted), ["a"]);
        assert!(!listing.contains("a:4150"));
    }

    #[test]
    fn one_that_fails_keeps_what_it_said() {
        let mut listing = Listing::new(2);
        listing.record(0, nodes(&["a"]));
        listing.record(1, nodes(&["a"]));
        // The second fails from now on, and is not recorded.
        assert_eq!(listing.record(0, nodes(&[])).delisted, []);
        assert!(listing.contains("a:4150"));
    }

    #[test]
    fn a_node_may_come_back() {
        let mut listing = Listing::new(1);
        listing.record(0, nodes(&["a"]));
        assert_eq!(names(&listing.record(0, nodes(&["b"])).delisted), ["a"]);
        let change = listing.record(0, nodes(&["a", "b"]));
        assert_eq!((names(&change.listed), names(&change.delisted)), (vec!["a"], vec![]));
    }

    #[test]
    fn the_same_host_on_another_port_is_another_node() {
        let mut listing = Listing::new(1);
        listing.record(0, nodes(&["a"]));
        let moved = Node { tcp_port: 5150, ..nodes(&["a"]).remove(0) };
        let change = listing.record(0, vec![moved]);
        assert_eq!((change.listed.len(), change.delisted.len()), (1, 1));
        assert!(listing.contains("a:5150") && !listing.contains("a:4150"));
    }
}
