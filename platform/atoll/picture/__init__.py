"""Pictures and pages that need nothing else: SVG and HTML as text, without a network, a script or a library.

    markup   elements, escaped
    scale    from values to points, and the ticks of an axis
    path     lines, steps and areas
    labels   how wide words are, and where they fit
    palette  colours of things, told apart by nearly everybody
    theme    light, dark and paper

Coordinates are pixels of the picture; y grows downwards.
"""
