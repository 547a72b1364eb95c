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

/// It is bounded in messages and in their bytes. A message that is longer than all of it is held alone.
#[derive(Debug)]
pub(super) struct Ring<J, P> {
    /// Grows up to its capacity, as messages come.
    slots: Vec<Option<Slot<J, P>>>,
    capacity: usize,
    /// Of the messages that are held, and at most.
    bytes: u64,
    pub(super) most_bytes: u64,
    /// How many slots were written so far: the next one lies at this number, modulo the capacity.
    head: usize,
    /// No slot before this number is held.
    tail: usize,
}

impl<J, P> Ring<J, P> {
    pub(super) fn new(capacity: usize, most_bytes: u64) -> Self {
        Self { slots: Vec::new(), capacity: capacity.max(1), bytes: 0, most_bytes, head: 0, tail: 0 }
    }

    /// Empties the slot of the oldest message, where there is no room for one of this length yet. Tells whose message that was, and what is
    /// left of its chain.
    pub(super) fn evict(
        &mut self,
        length: u64,
        chain: impl Fn(Id) -> Option<Chain>,
    ) -> Option<(Id, Option<Chain>)> {
        while self.tail < self.head && self.slots[self.tail % self.capacity].is_none() {
            self.tail += 1;
        }
        let is_full = self.head - self.tail == self.capacity;
        if !is_full && self.bytes.saturating_add(length) <= self.most_bytes {
            return None;
        }
        // None is left where a single message is longer than all that may be held.
        let oldest = self.tail % self.capacity;
        let owner = self.slots.get(oldest)?.as_ref()?.owner;
        let chain = chain(owner).filter(|chain| chain.first == oldest);
        let chain = chain.expect("the oldest message of the ring is the first of its span");
        Some((owner, self.take(chain).1))
    }

    /// Puts a message into the slot at the head, which is empty, behind the others of its chain.
    pub(super) fn add(&mut self, owner: Id, message: Message<J, P>, chain: Option<Chain>) -> Chain {
        self.bytes += length(&message);
        let slot = Some(Slot { message, owner, next: None });
        let added = self.head % self.capacity;
        if added == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[added] = slot;
        }
        self.head += 1;
        let Some(chain) = chain else { return Chain { first: added, last: added } };
        let last = self.slots[chain.last].as_mut().expect("a chain leads from message to message");
        last.next = Some(added);
        Chain { last: added, ..chain }
    }

    /// Takes the first message of a chain, and tells what is left of that.
    pub(super) fn take(&mut self, chain: Chain) -> (Message<J, P>, Option<Chain>) {
        let slot = self.slots[chain.first].take().expect("a chain leads from message to message");
        self.bytes -= length(&slot.message);
        (slot.message, slot.next.map(|first| Chain { first, ..chain }))
    }

    /// Bytes of the messages that are held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, slot: usize) -> &Message<J, P> {
        &self.slots[slot].as_ref().expect("a chain leads from message to message").message
    }
}

/// What a message takes of the journal, which is about what its payload takes of memory.
pub(super) fn length<J, P>(message: &Message<J, P>) -> u64 {
    message.end.distance_from(message.begin).unwrap_or(0)
}
