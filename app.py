print("app main", __name__)
