"""What a service author holds: namespaces, and objects of each type in them.

scope        what a request brought along: its region's state, its session, its deadline
regional     the region's state as one process sees it: the store, and the waits that guarantees need
following    what the region's store knows, followed live; acknowledgements of other regions
namespace    a namespace, by name
objects      registers, maps, counters and sets
"""
