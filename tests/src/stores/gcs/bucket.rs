//! Objects in memory, and uploads of objects in parts.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use axum::body::Bytes;

use super::answer::Refusal;

/// Parts are no smaller, but for the last.
const PART_MIN: usize = 5 << 20;

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) content: Bytes,
    pub(super) encoding: Option<String>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) generation: u64,
    pub(super) modified: SystemTime,
}

impl Default for Object {
    fn default() -> Self {
        Self {
            content: Bytes::new(),
            encoding: None,
            metadata: Vec::new(),
            generation: 0,
            modified: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Object {
    pub(super) fn tag(&self) -> String {
        format!("\"{}\"", self.generation)
    }
}

/// An upload that is under way.
#[derive(Debug)]
struct Upload {
    key: String,
    object: Object,
    parts: BTreeMap<usize, Bytes>,
}

/// A bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, Upload>,
    counter: u64,
}

/// A page of a listing.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    /// The last key of this page, if there are more.
    pub(super) next: Option<String>,
}

impl Bucket {
    pub(super) fn get(&self, key: &str) -> Result<&Object, Refusal> {
        self.objects.get(key).ok_or(Refusal::NoSuchKey)
    }

    /// Puts an object, unless another generation of it is there than is expected; zero is none.
    pub(super) fn put(
        &mut self,
        key: &str,
        object: Object,
        expected: Option<u64>,
    ) -> Result<String, Refusal> {
        let present = self.objects.get(key).map_or(0, |object| object.generation);
        if expected.is_some_and(|expected| expected != present) {
            return Err(Refusal::Precondition);
        }
        self.counter += 1;
        let object = Object { generation: self.counter, modified: now(), ..object };
        let tag = object.tag();
        self.objects.insert(key.to_owned(), object);
        Ok(tag)
    }

    pub(super) fn remove(&mut self, key: &str) -> Result<(), Refusal> {
        self.objects.remove(key).map(drop).ok_or(Refusal::NoSuchKey)
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&str>, most: usize) -> Page {
        let below = self.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let mut rest = below.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let objects: Vec<_> =
            rest.by_ref().take(most).map(|(key, object)| (key.clone(), object.clone())).collect();
        let next = rest.next().and_then(|_| objects.last()).map(|(key, _)| key.clone());
        Page { objects, next }
    }

    pub(super) fn begin(&mut self, key: &str, object: Object) -> String {
        self.counter += 1;
        let id = format!("upload-{}", self.counter);
        self.uploads.insert(id.clone(), Upload { key: key.to_owned(), object, parts: BTreeMap::new() });
        id
    }

    pub(super) fn put_part(
        &mut self,
        upload: &str,
        number: usize,
        content: Bytes,
    ) -> Result<String, Refusal> {
        let upload = self.uploads.get_mut(upload).ok_or(Refusal::NoSuchUpload)?;
        upload.parts.insert(number, content);
        Ok(format!("\"part-{number}\""))
    }

    pub(super) fn complete(&mut self, id: &str, numbers: &[usize]) -> Result<String, Refusal> {
        let upload = self.uploads.get(id).ok_or(Refusal::NoSuchUpload)?;
        let parts = numbers.iter().map(|number| upload.parts.get(number).ok_or(Refusal::BadRequest));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.iter().rev().skip(1).any(|part| part.len() < PART_MIN) {
            return Err(Refusal::EntityTooSmall);
        }
        let content = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let upload = self.uploads.remove(id).ok_or(Refusal::NoSuchUpload)?;
        self.put(&upload.key, Object { content, ..upload.object }, None)
    }

    pub(super) fn abort(&mut self, upload: &str) -> Result<(), Refusal> {
        self.uploads.remove(upload).map(drop).ok_or(Refusal::NoSuchUpload)
    }

    pub(super) fn damage(&mut self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let object = self.objects.get_mut(key).unwrap_or_else(|| panic!("no object {key}"));
        let mut content = object.content.to_vec();
        change(&mut content);
        object.content = content.into();
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of tests tells the real time")]
fn now() -> SystemTime {
    SystemTime::now()
}
