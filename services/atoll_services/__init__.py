"""Reference services: a postcard shop over the cities of the world.

Of Atoll they import `atoll.sdk` alone.
"""
