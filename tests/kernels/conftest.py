"""The kernels run at every level that this machine offers."""

import pytest

from labkit.kernels import dispatch


@pytest.fixture(params=dispatch.levels())
def level(request):
    with dispatch.forced(request.param):
        yield request.param
