"""Quote: what it costs to send a postcard, or a parcel of them, from one city to another."""
