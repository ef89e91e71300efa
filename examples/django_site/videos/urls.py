from django.urls import path, re_path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("watch/<int:pk>/", views.watch, name="watch"),
    path("by/<str:username>/", views.channel, name="channel"),
    re_path(r"^private/(?P<pk>\d+)/(?P<field>file|poster)$", views.private, name="private"),
    path("upload/", views.upload, name="upload"),
    path("mine/", views.mine, name="mine"),
    path("mine/<int:pk>/", views.edit, name="edit"),
    path("mine/<int:pk>/delete/", views.delete, name="delete"),
    path("accounts/sign-up/", views.sign_up, name="sign_up"),
]
