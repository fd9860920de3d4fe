"""The benchmark: what a relayed message costs here, in one run beside nginx and the peers. ``make bench``.

``__main__`` runs :mod:`bench.scenarios` against :mod:`bench.contenders`; :mod:`bench.load` is the browsers' end of each
measurement and :mod:`bench.upstream` the model's, both processes of their own. docs/performance.md explains the rest.
"""
