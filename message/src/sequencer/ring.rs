//! Pure: the messages that wait, in the order they were read, of which the oldest give way.

use super::Message;
use super::partial::Id;

/// The slots of a span's messages: each leads to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) first: usize,
    last: usize,
}

#[derive(Debug)]
struct Slot<J, P> {
    message: Message<J, P>,
    owner: Id,
    next: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Ring<J, P> {
    /// Grows up to its capacity, as messages come.
    slots: Vec<Option<Slot<J, P>>>,
    capacity: usize,
    /// The slot to be written next.
    head: usize,
}

impl<J, P> Ring<J, P> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), capacity: capacity.max(1), head: 0 }
    }

    /// Empties the slot at the head. Tells whose message that was, and what is left of its chain.
    pub(super) fn evict(&mut self, chain: impl Fn(Id) -> Option<Chain>) -> Option<(Id, Option<Chain>)> {
        let owner = self.slots.get(self.head)?.as_ref()?.owner;
        let chain = chain(owner).filter(|chain| chain.first == self.head);
        let chain = chain.expect("the oldest message of the ring is the first of its span");
        Some((owner, self.take(chain).1))
    }

    /// Puts a message into the slot at the head, which is empty, behind the others of its chain.
    pub(super) fn add(&mut self, owner: Id, message: Message<J, P>, chain: Option<Chain>) -> Chain {
        let slot = Some(Slot { message, owner, next: None });
        if self.head == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[self.head] = slot;
        }
        let added = self.head;
        self.head = (self.head + 1) % self.capacity;
        let Some(chain) = chain else { return Chain { first: added, last: added } };
        let last = self.slots[chain.last].as_mut().expect("a chain leads from message to message");
        last.next = Some(added);
        Chain { last: added, ..chain }
    }

    /// Takes the first message of a chain, and tells what is left of that.
    pub(super) fn take(&mut self, chain: Chain) -> (Message<J, P>, Option<Chain>) {
        let slot = self.slots[chain.first].take().expect("a chain leads from message to message");
        (slot.message, slot.next.map(|first| Chain { first, ..chain }))
    }

    pub(super) fn get(&self, slot: usize) -> &Message<J, P> {
        &self.slots[slot].as_ref().expect("a chain leads from message to message").message
    }
}
