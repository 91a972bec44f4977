def to_number(value):
    n = value["n"]
    if not isinstance(n, (int, float)):
        raise ValueError('n is "%s", not a number' % n)
    return n
