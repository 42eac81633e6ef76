from ...core import models
def main(): print(models.__name__)
