// Which events match a filter (NIP-01): the suite's own answer, to check the relay's against.

/** Whether the event matches the filter, `limit` aside. */
export function matches(filter, event) {
  for (const [name, wanted] of Object.entries(filter)) {
    if (!holds(name, wanted, event)) {
      return false;
    }
  }
  return true;
}

function holds(name, wanted, event) {
  switch (name) {
    case 'ids':
      return wanted.includes(event.id);
    case 'authors':
      return wanted.includes(event.pubkey);
    case 'kinds':
      return wanted.includes(event.kind);
    case 'since':
      return event.created_at >= wanted;
    case 'until':
      return event.created_at <= wanted;
    case 'limit':
      return true;
    default:
      if (/^#[a-zA-Z]$/.test(name)) {
        return event.tags.some((tag) => tag[0] === name[1] && tag.length > 1 && wanted.includes(tag[1]));
      }
      throw new Error(`no such condition: ${name}`);
  }
}
