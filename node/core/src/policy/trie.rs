//! The compiled matcher: a radix tree over the bytes of patterns, in which a `+` segment is a branch
//! of its own.
//!
//! One walk down the literal branches finds an exact rule and the longest prefix; its work is bounded
//! by the path's length. It remembers the `+` branches that it passes, and where no exact rule was
//! found they are searched, deepest first. Every node knows the best rank below it, so a branch that
//! cannot win is not entered; that makes the search about as short, and never longer than looking at
//! every rule with a `+` that begins like the path.

use super::acl::RuleId;
use super::pattern::{Pattern, Piece};

/// How a rule with a wildcard compares to all others of its [`Acl`](super::Acl): the greater wins.
/// 0 is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rank(pub(super) u32);

impl Rank {
    /// Loses to every rule.
    pub(super) const NONE: Self = Self(0);
}

/// Where a pattern ends in the tree, and what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The rule of exactly this path.
    Exact(RuleId),
    /// A rule of every path that ends here.
    Whole(Rank),
    /// A rule of every path that passes here.
    Prefix(Rank),
    /// Every path that passes here is refused, for the reason with this number.
    Withheld(u32),
}

/// What stands in the tree for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// The exact rule.
    pub(super) exact: Option<RuleId>,
    /// Why the path is refused whatever the rules say.
    pub(super) withheld: Option<u32>,
    /// The best rank among the rules with a wildcard; of no meaning beside either of the above.
    pub(super) best: Rank,
}

#[derive(Debug)]
pub(super) struct Trie {
    /// The first is the root.
    nodes: Vec<Node>,
}

type NodeId = u32;

const ROOT: NodeId = 0;

#[derive(Debug, Default)]
struct Node {
    /// The bytes between the parent and this node.
    label: Box<[u8]>,
    /// The first byte of each child's label, and the child.
    children: Vec<(u8, NodeId)>,
    /// What follows one segment, whichever it is.
    plus: Option<NodeId>,
    exact: Option<RuleId>,
    withheld: Option<u32>,
    whole: Rank,
    prefix: Rank,
    /// The best rank here and below.
    best: Rank,
    /// Whether a rule here or below gives anything.
    gives: bool,
}

impl Trie {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Puts `slot` where `pattern` ends. `gives`: whether its rule gives anything.
    pub(super) fn insert(&mut self, pattern: &Pattern, slot: Slot, gives: bool) {
        let rank = match slot {
            Slot::Whole(rank) | Slot::Prefix(rank) => rank,
            Slot::Exact(_) | Slot::Withheld(_) => Rank::NONE,
        };
        let mut at = ROOT;
        self.pass(at, rank, gives);
        for piece in pattern.pieces() {
            at = match piece {
                Piece::Literal(text) => self.descend(at, text.as_bytes(), rank, gives),
                Piece::Segment => self.branch(at, rank, gives),
            };
        }
        let node = self.node_mut(at);
        match slot {
            Slot::Exact(rule) => node.exact = Some(rule),
            Slot::Whole(rank) => node.whole = rank,
            Slot::Prefix(rank) => node.prefix = rank,
            Slot::Withheld(number) => node.withheld = Some(number),
        }
    }

    /// What stands in the tree for `path`.
    pub(super) fn look_up(&self, path: &str) -> Entry {
        let mut entry = Entry::default();
        let mut open = Vec::new();
        let (mut at, mut rest) = (ROOT, path.as_bytes());
        loop {
            let node = self.node(at);
            entry.withheld = entry.withheld.or(node.withheld);
            entry.best = entry.best.max(node.prefix);
            if rest.is_empty() {
                entry.exact = node.exact;
                entry.best = entry.best.max(node.whole);
            }
            if let Some(plus) = node.plus {
                open.push((plus, after_segment(rest)));
            }
            let Some((child, after)) = self.child(node, rest) else { break };
            (at, rest) = (child, after);
        }
        if entry.exact.is_none() && entry.withheld.is_none() {
            entry.best = self.best(open, entry.best);
        }
        entry
    }

    /// The best rank that is above `best` in the branches that are still open, deepest first.
    fn best(&self, mut open: Vec<(NodeId, &[u8])>, mut best: Rank) -> Rank {
        while let Some((mut at, mut rest)) = open.pop() {
            loop {
                let node = self.node(at);
                if node.best <= best {
                    break;
                }
                best = best.max(node.prefix);
                if rest.is_empty() {
                    best = best.max(node.whole);
                }
                if let Some(plus) = node.plus {
                    open.push((plus, after_segment(rest)));
                }
                let Some((child, after)) = self.child(node, rest) else { break };
                (at, rest) = (child, after);
            }
        }
        best
    }

    /// Whether a rule that gives anything could match a path that begins with `start`.
    pub(super) fn gives_below(&self, start: &str) -> bool {
        let mut open = vec![(ROOT, start.as_bytes())];
        while let Some((mut at, mut rest)) = open.pop() {
            loop {
                let node = self.node(at);
                if !node.gives {
                    break;
                }
                if rest.is_empty() {
                    return true;
                }
                if let Some(plus) = node.plus {
                    open.push((plus, after_segment(rest)));
                }
                if self.ends_within(node, rest) {
                    return true;
                }
                let Some((child, after)) = self.child(node, rest) else { break };
                (at, rest) = (child, after);
            }
        }
        false
    }

    /// Whether `rest` ends inside a child's label, and something below that child gives.
    fn ends_within(&self, node: &Node, rest: &[u8]) -> bool {
        node.place(rest[0]).is_some_and(|at| {
            let child = self.node(node.children[at].1);
            child.gives && child.label.starts_with(rest)
        })
    }

    fn child<'a>(&self, node: &Node, rest: &'a [u8]) -> Option<(NodeId, &'a [u8])> {
        let child = node.children[node.place(*rest.first()?)?].1;
        Some((child, rest.strip_prefix(&*self.node(child).label)?))
    }

    /// The node that `text` below `at` leads to, made where it is missing.
    fn descend(&mut self, mut at: NodeId, mut text: &[u8], rank: Rank, gives: bool) -> NodeId {
        while let Some(first) = text.first() {
            at = match self.node(at).place(*first) {
                None => {
                    let made = self.add(Node { label: text.into(), ..Node::default() });
                    self.node_mut(at).children.push((*first, made));
                    text = &[];
                    made
                }
                Some(place) => {
                    let child = self.node(at).children[place].1;
                    let label = &self.node(child).label;
                    let shared = label.iter().zip(text).take_while(|(a, b)| a == b).count();
                    text = &text[shared..];
                    if shared == label.len() { child } else { self.split(at, place, shared) }
                }
            };
            self.pass(at, rank, gives);
        }
        at
    }

    /// Cuts a child's label after `shared` bytes; the node between the two halves is returned.
    fn split(&mut self, parent: NodeId, place: usize, shared: usize) -> NodeId {
        let lower = self.node(parent).children[place].1;
        let node = self.node_mut(lower);
        let (upper_label, lower_label) = node.label.split_at(shared);
        let upper = Node {
            label: upper_label.into(),
            children: vec![(lower_label[0], lower)],
            best: node.best,
            gives: node.gives,
            ..Node::default()
        };
        node.label = lower_label.into();
        let upper = self.add(upper);
        self.node_mut(parent).children[place].1 = upper;
        upper
    }

    /// The node after a `+` at `at`, made where it is missing.
    fn branch(&mut self, at: NodeId, rank: Rank, gives: bool) -> NodeId {
        let after = match self.node(at).plus {
            Some(after) => after,
            None => {
                let made = self.add(Node::default());
                self.node_mut(at).plus = Some(made);
                made
            }
        };
        self.pass(after, rank, gives);
        after
    }

    /// Notes at a node that a rule ends there or below.
    fn pass(&mut self, at: NodeId, rank: Rank, gives: bool) {
        let node = self.node_mut(at);
        node.best = node.best.max(rank);
        node.gives |= gives;
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).expect("the patterns of an ACL are bounded");
        self.nodes.push(node);
        id
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }
}

impl Node {
    /// Where the child is whose label begins with `first`.
    fn place(&self, first: u8) -> Option<usize> {
        self.children.iter().position(|(known, _)| *known == first)
    }
}

/// What follows the segment that `rest` begins with: the slash, or nothing.
fn after_segment(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    &rest[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(patterns: &[&str]) -> Trie {
        let mut trie = Trie::new();
        for (number, text) in (1..).zip(patterns) {
            let pattern = Pattern::new(text).unwrap();
            let slot = match (pattern.is_exact(), pattern.is_glob()) {
                (true, _) => Slot::Exact(RuleId(number)),
                (false, true) => Slot::Prefix(Rank(number)),
                (false, false) => Slot::Whole(Rank(number)),
            };
            trie.insert(&pattern, slot, number != 1);
        }
        trie
    }

    #[test]
    fn labels_are_cut_where_patterns_part() {
        let trie = trie(&["kv/apple", "kv/apply", "kv/app", "kv/b", "kv"]);
        for (number, path) in (1..).zip(["kv/apple", "kv/apply", "kv/app", "kv/b", "kv"]) {
            assert_eq!(trie.look_up(path).exact, Some(RuleId(number)), "{path}");
        }
        for path in ["", "k", "kv/", "kv/appl", "kv/apples", "kw"] {
            assert_eq!(trie.look_up(path).exact, None, "{path}");
        }
    }

    #[test]
    fn the_best_rank_wins_through_every_branch() {
        let trie = trie(&["*", "a/*", "+/b/c", "a/+/c", "a/b/+", "a/+/+", "a/+/"]);
        for (path, rank) in
            [("x", 1), ("a/", 2), ("x/b/c", 3), ("a/x/c", 6), ("a/b/c", 6), ("a/b/", 7), ("b/a", 1)]
        {
            assert_eq!(trie.look_up(path).best, Rank(rank), "{path}");
        }
        assert_eq!(Trie::new().look_up("a").best, Rank::NONE);
    }

    #[test]
    fn giving_is_seen_from_above() {
        let trie = trie(&["deny/x", "kv/data/a", "auth/+/login"]);
        for (start, expected) in [
            ("kv/", true),
            ("kv/da", true),
            ("kv/x", false),
            ("deny/", false),
            ("auth/any/", true),
            ("auth/any/x", false),
            ("", true),
        ] {
            assert_eq!(trie.gives_below(start), expected, "{start}");
        }
    }
}
